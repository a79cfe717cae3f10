{{- define "sidewatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "sidewatch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sidewatch.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sidewatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sidewatch.labels" -}}
{{ include "sidewatch.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sidewatch.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sidewatch.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "sidewatch.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What the operator may do in every namespace that it watches. */}}
{{- define "sidewatch.namespacedRules" -}}
# Readiness, restarts and ends of containers stand in the status of Pods, the roles of containers in their spec.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Policies say what to look for.
- apiGroups: [sidewatch.dev]
  resources: [sidecarpolicies]
  verbs: [list, watch]
# What was found is written into the status of the policy, by server-side apply.
- apiGroups: [sidewatch.dev]
  resources: [sidecarpolicies/status]
  verbs: [patch]
# Each violation is told as an Event, which is patched while the violation goes on.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What it may do beside that when it watches the whole cluster. */}}
{{- define "sidewatch.clusterRules" -}}
# The namespaceSelector of a ClusterSidecarPolicy selects by the labels of namespaces.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
# The same as above, for the policies of the whole cluster.
- apiGroups: [sidewatch.dev]
  resources: [clustersidecarpolicies]
  verbs: [list, watch]
- apiGroups: [sidewatch.dev]
  resources: [clustersidecarpolicies/status]
  verbs: [patch]
{{- end }}
