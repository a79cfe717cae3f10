{{- define "sidewatch-policies.name" -}}
{{- default .Release.Name .Values.name -}}
{{- end }}

{{- define "sidewatch-policies.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The spec of the ClusterSidecarPolicy: the namespaceSelector also excludes `excludedNamespaces`. */}}
{{- define "sidewatch-policies.clusterSpec" -}}
{{- $spec := deepCopy .Values.spec -}}
{{- $excluded := list -}}
{{- range .Values.excludedNamespaces -}}
{{- $excluded = append $excluded (tpl . $) -}}
{{- end -}}
{{- if $excluded -}}
{{- $expression := dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (uniq $excluded) -}}
{{- $selector := default dict $spec.namespaceSelector -}}
{{- $expressions := append (default list $selector.matchExpressions) $expression -}}
{{- $_ := set $spec "namespaceSelector" (merge (dict "matchExpressions" $expressions) $selector) -}}
{{- end -}}
{{- toYaml $spec -}}
{{- end }}
