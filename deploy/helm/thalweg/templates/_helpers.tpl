{{- define "thalweg.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* 40 characters at most: what is put behind it has to fit into the 63 of a label. */}}
{{- define "thalweg.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "thalweg.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "thalweg.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Takes {root, component}. A pod is known by these for ever: nothing that changes with a version is among them. */}}
{{- define "thalweg.selector" -}}
app.kubernetes.io/name: {{ include "thalweg.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Takes {root, component}. */}}
{{- define "thalweg.labels" -}}
{{ include "thalweg.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "thalweg.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "thalweg.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "thalweg.image" -}}
{{- $repository := required "image.repository is needed: where you pushed the image of deploy/Dockerfile" .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The roles of the mode: what each is called in values, as JSON. */}}
{{- define "thalweg.roles" -}}
{{- ternary (list "embedded") (list "controlPlane" "ingest" "reader" "webhooks" "writer") (eq .Values.mode "embedded") | toJson }}
{{- end }}

{{- define "thalweg.secretName" -}}
{{- default (include "thalweg.fullname" .) .Values.secrets.existing }}
{{- end }}

{{/* Takes {root, key}. The key of a secret in its Secret: of the existing one as it is called there, of ours as by default. */}}
{{- define "thalweg.secretKey" -}}
{{- if .root.Values.secrets.existing }}
{{- required (printf "secrets.keys.%s is needed: the key in the Secret %s" .key .root.Values.secrets.existing) (get .root.Values.secrets.keys .key) }}
{{- else }}
{{- kebabcase .key }}
{{- end }}
{{- end }}

{{/* Takes {root, role}. The secrets that a role needs, as a JSON map of their name in values to the setting. */}}
{{- define "thalweg.secretsOf" -}}
{{- $needed := dict }}
{{- if eq .role "controlPlane" }}
{{- $needed = dict "tokenSecret" "token_secret" "sealingSecret" "sealing_secret" "internalSecret" "internal_secret" "postgresUrl" "postgres_url" "adminPassword" "admin_password" }}
{{- else if has .role (list "ingest" "reader") }}
{{- $needed = dict "internalSecret" "internal_secret" }}
{{- else if eq .role "webhooks" }}
{{- $needed = dict "sealingSecret" "sealing_secret" "postgresUrl" "postgres_url" }}
{{- else if eq .role "migrate" }}
{{- $needed = dict "postgresUrl" "postgres_url" }}
{{- else if eq .role "embedded" }}
{{- $needed = dict "adminPassword" "admin_password" }}
{{- end }}
{{- if and .root.Values.cql.user (has .role (list "controlPlane" "reader" "writer" "migrate")) }}
{{- $_ := set $needed "cqlPassword" "cql_password" }}
{{- end }}
{{- $needed | toJson }}
{{- end }}

{{/* A setting as text: numbers of YAML come as floats, which would print as 1e+06. */}}
{{- define "thalweg.settingText" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* Takes {root, role}. The environment of a role. */}}
{{- define "thalweg.env" -}}
{{- $values := .root.Values }}
{{- $settings := dict "log_format" "json" }}
{{- if ne .role "migrate" }}
{{- $settings = mergeOverwrite $settings (deepCopy $values.settings) (deepCopy (get $values .role).settings) }}
{{- else }}
{{- $settings = mergeOverwrite $settings (pick $values.settings "log_filter" "log_format" "log_retention_age") }}
{{- end }}
{{- if has .role (list "controlPlane" "ingest" "webhooks" "writer" "migrate") }}
{{- $_ := set $settings "kafka_brokers" (join "," $values.kafka.brokers) }}
{{- $_ := set $settings "kafka_topic" $values.kafka.topic }}
{{- $_ := set $settings "kafka_partitions" $values.kafka.partitions }}
{{- $_ := set $settings "kafka_replication" $values.kafka.replication }}
{{- $_ := set $settings "kafka_in_sync_min" $values.kafka.inSyncMin }}
{{- end }}
{{- if has .role (list "controlPlane" "reader" "writer" "migrate") }}
{{- $_ := set $settings "cql_nodes" (join "," $values.cql.nodes) }}
{{- $_ := set $settings "cql_keyspace" $values.cql.keyspace }}
{{- $_ := set $settings "cql_replicas" $values.cql.replicas }}
{{- $_ := set $settings "cql_consistency" $values.cql.consistency }}
{{- with $values.cql.user }}{{ $_ := set $settings "cql_user" . }}{{ end }}
{{- end }}
{{- if has .role (list "ingest" "reader") }}
{{- $_ := set $settings "control_plane_url" (printf "http://%s-control-plane:8081" (include "thalweg.fullname" .root)) }}
{{- end }}
{{- if has .role (list "controlPlane" "embedded") }}
{{- $_ := set $settings "admin_email" $values.admin.email }}
{{- end }}
{{- if and $values.trustedProxies (has .role (list "controlPlane" "ingest" "reader" "embedded")) }}
{{- $_ := set $settings "trusted_proxies" (join "," $values.trustedProxies) }}
{{- end }}
{{- range $key, $value := $settings }}
- name: THALWEG_{{ upper $key }}
  value: {{ include "thalweg.settingText" $value | quote }}
{{- end }}
{{- range $name, $setting := include "thalweg.secretsOf" . | fromJson }}
- name: THALWEG_{{ upper $setting }}_FILE
  value: /run/secrets/thalweg/{{ kebabcase $name }}
{{- end }}
{{- end }}

{{/* Takes {root, role, secretName}. The volume of a role's secrets, and nothing if it has none. */}}
{{- define "thalweg.secretVolume" -}}
{{- $root := .root }}
{{- with include "thalweg.secretsOf" . | fromJson }}
- name: secrets
  secret:
    secretName: {{ $.secretName }}
    # For the group of the pod, which is fsGroup.
    defaultMode: 0440
    items:
      {{- range $name, $_ := . }}
      - key: {{ include "thalweg.secretKey" (dict "root" $root "key" $name) }}
        path: {{ kebabcase $name }}
      {{- end }}
{{- end }}
{{- end }}

{{- define "thalweg.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "thalweg.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What has to hold between values; the schema can't say it. */}}
{{- define "thalweg.check" -}}
{{- $values := .Values }}
{{- $wanted := list "adminPassword" }}
{{- if eq $values.mode "cluster" }}
{{- $wanted = list "tokenSecret" "sealingSecret" "internalSecret" "postgresUrl" "adminPassword" }}
{{- if not $values.kafka.brokers }}{{ fail "kafka.brokers is needed: addresses of some brokers, such as [kafka-0:9092]" }}{{ end }}
{{- if not $values.cql.nodes }}{{ fail "cql.nodes is needed: addresses of some nodes of ScyllaDB or Cassandra, such as [scylla-0:9042]" }}{{ end }}
{{- if lt (int $values.kafka.replication) (int $values.kafka.inSyncMin) }}{{ fail "kafka.inSyncMin is more than kafka.replication" }}{{ end }}
{{- if $values.cql.user }}{{ $wanted = append $wanted "cqlPassword" }}{{ end }}
{{- else }}
{{- range list "tokenSecret" "sealingSecret" "internalSecret" "postgresUrl" "cqlPassword" }}
{{- if get $values.secrets . }}{{ fail (printf "secrets.%s has no use in mode embedded" .) }}{{ end }}
{{- end }}
{{- end }}
{{- if not $values.secrets.existing }}
{{- range $wanted }}
{{- if not (get $values.secrets .) }}
{{- fail (printf "secrets.%s is needed, or secrets.existing with the name of a Secret that has it; there is no default. How to make one: deploy/README.md" .) }}
{{- end }}
{{- end }}
{{- else }}
{{- range list "tokenSecret" "sealingSecret" "internalSecret" "postgresUrl" "adminPassword" "cqlPassword" }}
{{- if get $values.secrets . }}
{{- fail (printf "secrets.existing and secrets.%s are both given: the Secret %s is read, and nothing else" . $values.secrets.existing) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.secrets.cqlPassword (not $values.cql.user) }}{{ fail "secrets.cqlPassword needs cql.user" }}{{ end }}
{{- if and (or $values.ingress.enabled $values.httpRoute.enabled) (not $values.trustedProxies) }}
{{- fail "trustedProxies is needed with an Ingress or an HTTPRoute: the networks of the pods of its controller, such as [10.42.0.0/16]" }}
{{- end }}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) }}{{ fail "ingress.hosts is needed; [\"\"] stands for every host" }}{{ end }}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) }}{{ fail "httpRoute.parentRefs is needed: the gateways that the route belongs to" }}{{ end }}
{{- end }}

{{/* The service and the paths of each kind of route, as JSON. */}}
{{- define "thalweg.routes" -}}
{{- $name := include "thalweg.fullname" . }}
{{- $routes := list }}
{{- range $key := list "ingest" "reader" "controlPlane" }}
{{- $paths := get $.Values.routes $key }}
{{- if and (eq $key "controlPlane") $.Values.routes.health }}{{ $paths = append $paths "/health$" }}{{ end }}
{{- $service := ternary $name (printf "%s-%s" $name (kebabcase $key)) (eq $.Values.mode "embedded") }}
{{- $routes = append $routes (dict "service" $service "paths" $paths) }}
{{- end }}
{{- $routes | toJson }}
{{- end }}
