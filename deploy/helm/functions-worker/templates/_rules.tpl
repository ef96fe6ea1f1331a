{{/* Rights in a namespace of functions, for what the configuration uses. */}}
{{- define "functions-worker.rules" -}}
# Without update, a changed function is deleted and created again; without list and watch, repairs take up to five
# minutes and what deleted functions left behind stays.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, create, update, delete, list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, update, delete, list, watch]
# Tells why an instance does not answer, and whether those of a deleted function have ended.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- $budget := dig "goWorker" "kubernetes" "disruptionBudget" dict . }}
{{- if or (hasKey $budget "maxUnavailable") (hasKey $budget "minAvailable") }}
# goWorker.kubernetes.disruptionBudget. Kubernetes deletes them with the StatefulSets.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, update, list, watch]
{{- end }}
{{- $provider := .functionAuthProviderClassName | default "org.apache.pulsar.functions.auth.KubernetesSecretsTokenAuthProvider" }}
{{- if and .authenticationEnabled (eq $provider "org.apache.pulsar.functions.auth.KubernetesSecretsTokenAuthProvider") }}
# The tokens of functions.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, update, delete]
{{- end }}
{{- end -}}
