{{/* At most 50 characters: the StatefulSet's pods and revisions, and the headless Service, add to it. */}}
{{- define "functions-worker.fullname" -}}
{{- $name := .Chart.Name -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full = .Values.fullnameOverride | default (regexReplaceAll "[^a-z0-9-]+" (lower $full) "-" | trunc 50 | trimSuffix "-") -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- fail (printf "%s: a Service's name begins with a letter; choose another release name or set fullnameOverride" $full) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{/* A text as the value of a label. */}}
{{- define "functions-worker.label" -}}
{{- regexReplaceAll "[^A-Za-z0-9._-]+" . "_" | trunc 63 | trimAll "._-" | quote -}}
{{- end -}}

{{- define "functions-worker.selector" -}}
app.kubernetes.io/name: {{ include "functions-worker.label" .Chart.Name }}
app.kubernetes.io/instance: {{ include "functions-worker.label" .Release.Name }}
{{- end -}}

{{- define "functions-worker.labels" -}}
{{ include "functions-worker.selector" . }}
app.kubernetes.io/version: {{ include "functions-worker.label" .Chart.AppVersion }}
app.kubernetes.io/managed-by: {{ include "functions-worker.label" .Release.Service }}
helm.sh/chart: {{ include "functions-worker.label" (printf "%s-%s" .Chart.Name .Chart.Version) }}
{{- end -}}

{{- define "functions-worker.podLabels" -}}
{{- $own := include "functions-worker.labels" . | fromYaml -}}
{{- range $key, $_ := .Values.podLabels -}}
{{- if hasKey $own $key -}}
{{- fail (printf "podLabels: %s is the chart's own, which its Services and its StatefulSet select pods by; choose another key" $key) -}}
{{- end -}}
{{- end -}}
{{- merge $own .Values.podLabels | toYaml -}}
{{- end -}}

{{- define "functions-worker.podAnnotations" -}}
{{- /* The configuration is read at the start: a change replaces the pods. */ -}}
{{- merge (dict "checksum/config" (include "functions-worker.config" . | sha256sum)) .Values.podAnnotations | toYaml -}}
{{- end -}}

{{- define "functions-worker.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "functions-worker.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name: with serviceAccount.create=false, the account that the workers run as" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "functions-worker.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "functions-worker.tlsSecret" -}}
{{- .Values.tls.secretName | default (printf "%s-tls" (include "functions-worker.fullname" .)) -}}
{{- end -}}

{{- define "functions-worker.tokenKey" -}}
{{- .Values.auth.keySecret.key | default (ternary "PUBLICKEY" "SECRETKEY" (eq .Values.auth.keySecret.kind "public")) -}}
{{- end -}}

{{- define "functions-worker.functionsNamespace" -}}
{{- .Values.functions.namespace | default .Release.Namespace -}}
{{- end -}}

{{/* All namespaces of functions, as a list in YAML. */}}
{{- define "functions-worker.namespaces" -}}
{{- prepend .Values.rbac.namespaces (include "functions-worker.functionsNamespace" .) | uniq | toYaml -}}
{{- end -}}
