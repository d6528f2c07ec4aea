{{/* Takes {root, role, component, args, serves}. The pod of a role; what only one of them has is put behind it. */}}
{{- define "thalweg.pod" -}}
{{- $values := .root.Values }}
{{- $of := get $values .role }}
metadata:
  labels:
    {{- include "thalweg.selector" . | nindent 4 }}
    {{- with $of.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if not $values.secrets.existing }}
    # A change of the secrets replaces the pods: they are read at the start.
    checksum/secrets: {{ toJson $values.secrets | sha256sum }}
    {{- end }}
    kubectl.kubernetes.io/default-container: thalweg
    {{- with $of.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "thalweg.serviceAccount" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "thalweg.podSecurity" . | nindent 4 }}
  {{- if ne .role "embedded" }}
  topologySpreadConstraints:
    {{- range $values.topologySpread.keys }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: {{ $values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "thalweg.selector" $ | nindent 10 }}
      # Of one version: those that are on their way out don't count.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  containers:
    - name: thalweg
      image: {{ include "thalweg.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        {{- include "thalweg.env" . | trim | nindent 8 }}
      ports:
        - name: http
          containerPort: 8080
        {{- if eq .role "controlPlane" }}
        - name: internal
          containerPort: 8081
        {{- end }}
      # As long as it opens what it needs, it listens and does not answer.
      startupProbe:
        httpGet: {path: /livez, port: http}
        {{- toYaml $values.startupProbe | nindent 8 }}
      livenessProbe:
        httpGet: {path: /livez, port: http}
        {{- toYaml $values.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        {{- toYaml $values.readinessProbe | nindent 8 }}
      {{- if and .serves $values.preStopSeconds }}
      # By then proxies have learnt that it is on its way out, and it still takes their requests. Kubernetes' own: the image has no shell.
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $values.preStopSeconds }}
      {{- end }}
      resources:
        {{- toYaml $of.resources | nindent 8 }}
      securityContext:
        {{- include "thalweg.containerSecurity" . | nindent 8 }}
      {{- $secrets := include "thalweg.secretVolume" (dict "root" .root "role" .role "secretName" (include "thalweg.secretName" .root)) }}
      {{- if or $secrets (eq .role "embedded") }}
      volumeMounts:
        {{- if $secrets }}
        - name: secrets
          mountPath: /run/secrets/thalweg
          readOnly: true
        {{- end }}
        {{- if eq .role "embedded" }}
        - name: data
          mountPath: /data
        {{- end }}
      {{- end }}
  {{- with $secrets }}
  volumes:
    {{- trim . | nindent 4 }}
  {{- end }}
  {{- with $of.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
