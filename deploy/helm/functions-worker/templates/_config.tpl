{{/* Keys of the configuration that the chart's other objects depend on, and what to set instead. */}}
{{- define "functions-worker.owned" -}}
workerPort: leave it out, the Services and the probes use 6750
workerPortTls: leave it out, the Services use 6751; tls.enabled opens it
tlsEnabled: set tls.enabled
tlsCertificateFilePath: set tls.secretName
tlsKeyFilePath: set tls.secretName
workerId: leave it out, it is the name of the pod
workerHostname: leave it out, it is the name of the pod
pulsarServiceUrl: set broker.serviceUrl
pulsarWebServiceUrl: set broker.webServiceUrl
pulsarFunctionsCluster: set broker.clusterName
authenticateMetricsEndpoint: set metrics.authenticate
functionRuntimeFactoryConfigs.jobNamespace: set functions.namespace
functionRuntimeFactoryConfigs.submittingInsidePod: leave it out, the workers run in pods
goWorker.kubernetes.clusterDomain: set clusterDomain
{{- end -}}

{{- define "functions-worker.refuseOwned" -}}
{{- range $path, $instead := include "functions-worker.owned" . | fromYaml -}}
{{- $at := $.Values.config -}}
{{- $given := true -}}
{{- range splitList "." $path -}}
{{- if and $given (kindIs "map" $at) (hasKey $at .) -}}{{- $at = get $at . -}}{{- else -}}{{- $given = false -}}{{- end -}}
{{- end -}}
{{- if $given -}}{{- fail (printf "config.%s: %s" $path $instead) -}}{{- end -}}
{{- $variable := printf "PF_%s" (replace "." "_" $path) -}}
{{- range $.Values.extraEnv -}}
{{- if eq .name $variable -}}{{- fail (printf "extraEnv: %s: %s" $variable $instead) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the Pod Security level "restricted" asks of a container. */}}
{{- define "functions-worker.restricted" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* The user's configuration, with the containers of its podPatch restricted too: a list replaces another when maps are merged. */}}
{{- define "functions-worker.userConfig" -}}
{{- $user := deepCopy .Values.config -}}
{{- if .Values.functions.restricted -}}
{{- $spec := dig "goWorker" "kubernetes" "podPatch" "spec" dict $user -}}
{{- range $key := list "containers" "initContainers" -}}
{{- if hasKey $spec $key -}}
{{- $out := list -}}
{{- $own := ne $key "containers" -}}
{{- range get $spec $key -}}
{{- if hasKey . "$patch" -}}
{{- $out = append $out . -}}
{{- else -}}
{{- $own = or $own (eq (toString .name) "pulsarfunction") -}}
{{- $out = append $out (mergeOverwrite (include "functions-worker.restricted" $ | fromYaml) .) -}}
{{- end -}}
{{- end -}}
{{- if not $own -}}
{{- $out = prepend $out (merge (dict "name" "pulsarfunction") (include "functions-worker.restricted" $ | fromYaml)) -}}
{{- end -}}
{{- $_ := set $spec $key $out -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $user -}}
{{- end -}}

{{- define "functions-worker.runtimeConfig" -}}
submittingInsidePod: true
jobNamespace: {{ include "functions-worker.functionsNamespace" . | quote }}
pulsarRootDir: /pulsar
pulsarDockerImageName: {{ .Values.functions.image | quote }}
pulsarServiceUrl: {{ .Values.broker.serviceUrl }}
{{- $service := printf "%s.%s.svc" (include "functions-worker.fullname" .) .Release.Namespace }}
pulsarAdminUrl: {{ ternary (printf "https://%s:6751/" $service) (printf "http://%s:6750/" $service) .Values.tls.enabled }}
{{- end -}}

{{- define "functions-worker.kubernetesConfig" -}}
clusterDomain: {{ .Values.clusterDomain | quote }}
workerImage: {{ include "functions-worker.image" . | quote }}
{{- if and .Values.broker.caSecret.name (not .Values.auth.enabled) }}
trustSecret: {name: {{ .Values.broker.caSecret.name | quote }}, key: {{ .Values.broker.caSecret.key | default "ca.crt" | quote }}}
{{- end }}
{{- if .Values.functions.restricted }}
podPatch:
  spec:
    securityContext:
      runAsNonRoot: true
      runAsUser: 10000
      seccompProfile: {type: RuntimeDefault}
    containers:
      - name: pulsarfunction
        {{- include "functions-worker.restricted" . | nindent 8 }}
{{- end }}
{{- end -}}

{{/* What Kubernetes and the values say, and over it what the user says. */}}
{{- define "functions-worker.config" -}}
{{- include "functions-worker.refuseOwned" . -}}
{{- $v := .Values -}}
{{- $config := dict
  "workerPort" 6750
  "pulsarServiceUrl" $v.broker.serviceUrl
  "pulsarWebServiceUrl" $v.broker.webServiceUrl
  "pulsarFunctionsCluster" $v.broker.clusterName
  "pulsarFunctionsNamespace" "public/functions"
  "functionMetadataTopicName" "metadata"
  "clusterCoordinationTopicName" "coordinate"
  "functionAssignmentTopicName" "assignments"
  "schedulerClassName" "org.apache.pulsar.functions.worker.scheduler.RoundRobinScheduler"
  "functionRuntimeFactoryClassName" "org.apache.pulsar.functions.runtime.kubernetes.KubernetesRuntimeFactory"
  "functionRuntimeFactoryConfigs" (include "functions-worker.runtimeConfig" . | fromYaml)
  "downloadDirectory" "download/pulsar_functions"
  "useTls" (hasPrefix "pulsar+ssl://" $v.broker.serviceUrl)
  "authenticateMetricsEndpoint" $v.metrics.authenticate
  "goWorker" (dict "kubernetes" (include "functions-worker.kubernetesConfig" . | fromYaml))
-}}
{{- if $v.tls.enabled -}}
{{- $_ := required "broker.caSecret.name: with tls.enabled, the Secret with the authorities that signed the workers' certificates and the brokers': workers call each other, and pods of functions the workers" $v.broker.caSecret.name -}}
{{- $_ := merge $config (dict "tlsEnabled" true "workerPortTls" 6751 "tlsCertificateFilePath" "/pulsar/certs/worker/tls.crt" "tlsKeyFilePath" "/pulsar/certs/worker/tls.key") -}}
{{- end -}}
{{- if $v.broker.caSecret.name -}}
{{- $_ := merge $config (dict "tlsTrustCertsFilePath" "/pulsar/certs/ca/ca.crt" "brokerClientTrustCertsFilePath" "/pulsar/certs/ca/ca.crt") -}}
{{- end -}}
{{- if $v.auth.enabled -}}
{{- $key := ternary "tokenPublicKey" "tokenSecretKey" (eq $v.auth.keySecret.kind "public") -}}
{{- $_ := merge $config (dict
  "authenticationEnabled" true
  "authorizationEnabled" $v.auth.authorization
  "authenticationProviders" (list "org.apache.pulsar.broker.authentication.AuthenticationProviderToken")
  "properties" (dict $key "file:///pulsar/keys/token.key")
  "superUserRoles" $v.auth.superUserRoles
  "proxyRoles" $v.auth.proxyRoles
  "brokerClientAuthenticationPlugin" "org.apache.pulsar.client.impl.auth.AuthenticationToken"
  "brokerClientAuthenticationParameters" "file:///pulsar/tokens/token") -}}
{{- end -}}
{{- mustMergeOverwrite $config (include "functions-worker.userConfig" . | fromYaml) | toYaml -}}
{{- end -}}
