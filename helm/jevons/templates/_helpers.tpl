{{/* Names: the release's name, made to contain "jevons", at most 40 characters so that every suffix fits. */}}
{{- define "jevons.name" -}}
{{- if contains "jevons" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-jevons" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{/* Names of cluster-wide objects carry the namespace too: two installs may share a release name. */}}
{{- define "jevons.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "jevons.name" .) | trunc 55 | trimSuffix "-" }}
{{- end }}

{{/* Arguments: list of root and component. */}}
{{- define "jevons.selector" -}}
app.kubernetes.io/name: jevons
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "jevons.labels" -}}
{{ include "jevons.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end }}

{{/* Arguments: list of image value and default tag. */}}
{{- define "jevons.image" -}}
{{- $image := index . 0 -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default (index . 1) }}{{ end }}
{{- end }}

{{- define "jevons.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "jevons.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The API token as kubelet would mount it, but only into the container that asks for it. */}}
{{- define "jevons.tokenVolume" -}}
name: api-token
projected:
  defaultMode: 0440
  sources:
  - serviceAccountToken: {path: token, expirationSeconds: 3607}
  - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
  - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}

{{- define "jevons.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: {{ include "jevons.selector" . | fromYaml | toJson }}}
{{- end }}

{{/* Namespaces in which workloads are touched: the watched ones, or "" for a ClusterRole. */}}
{{- define "jevons.scopes" -}}
{{ .Values.watchNamespaces | default (list "") | toJson }}
{{- end }}
