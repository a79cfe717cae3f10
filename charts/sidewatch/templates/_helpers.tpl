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
app.kubernetes.io/part-of: sidewatch
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

{{/* The Secret with the certificate of the metrics. */}}
{{- define "sidewatch.metricsSecret" -}}
{{- default (printf "%s-metrics-tls" (include "sidewatch.fullname" .)) .Values.metrics.tls.secretName -}}
{{- end }}

{{/* The prefix of cluster-scoped objects for the authorization of scrapes. Each installation has its own. */}}
{{- define "sidewatch.metricsRole" -}}
{{- printf "%s-%s-metrics" (include "sidewatch.fullname" .) .Release.Namespace -}}
{{- end }}

{{/* The endpoint of a monitor. `kind` is its kind, and `monitor` its values. */}}
{{- define "sidewatch.endpoint" -}}
port: metrics
# Without this setting, Prometheus replaces the namespace, Pod and container of a violation with those of the operator.
honorLabels: true
{{- with .monitor.interval }}
interval: {{ . }}
{{- end }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .Values.metrics.tls }}
{{- if .enabled }}
scheme: https
tlsConfig:
  serverName: {{ default (printf "%s.%s.svc" (include "sidewatch.fullname" $) $.Release.Namespace) .serverName }}
  {{- if .insecureSkipVerify }}
  insecureSkipVerify: true
  {{- else if .caKey }}
  ca:
    secret:
      name: {{ include "sidewatch.metricsSecret" $ }}
      key: {{ .caKey }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .Values.metrics.auth }}
{{- if and .enabled .tokenSecret.name }}
authorization:
  credentials:
    name: {{ .tokenSecret.name }}
    key: {{ .tokenSecret.key }}
{{- else if and .enabled (eq $.kind "ServiceMonitor") }}
bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
{{- else if .enabled }}
{{- fail "podMonitor.enabled with metrics.auth.enabled requires metrics.auth.tokenSecret.name; a ServiceMonitor does not" }}
{{- end }}
{{- end }}
{{- with .monitor.relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The permissions of the operator in each namespace that it watches. */}}
{{- define "sidewatch.namespacedRules" -}}
# The status of a Pod shows the readiness, restarts and exits of its containers. The spec determines their roles.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The policies define the checks.
- apiGroups: [sidewatch.dev]
  resources: [sidecarpolicies]
  verbs: [list, watch]
# Sidewatch writes its results to the status of the policy by server-side apply.
- apiGroups: [sidewatch.dev]
  resources: [sidecarpolicies/status]
  verbs: [patch]
# Exemptions hide violations.
- apiGroups: [sidewatch.dev]
  resources: [sidecarexemptions]
  verbs: [list, watch]
# The status of an exemption lists what it hides.
- apiGroups: [sidewatch.dev]
  resources: [sidecarexemptions/status]
  verbs: [patch]
# Sidewatch reports each violation in an Event, and patches the Event while the violation continues.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The additional permissions for watching the whole cluster. */}}
{{- define "sidewatch.clusterRules" -}}
# The namespaceSelector of a ClusterSidecarPolicy selects namespaces by their labels.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
# The same permissions for cluster-scoped policies.
- apiGroups: [sidewatch.dev]
  resources: [clustersidecarpolicies]
  verbs: [list, watch]
- apiGroups: [sidewatch.dev]
  resources: [clustersidecarpolicies/status]
  verbs: [patch]
{{- end }}
