{{/*
What the operator may do with streams and their children: one list for the ClusterRole and for the
Roles of a namespaced install. Nothing here names Secrets: workers mount them, nobody else reads them.
*/}}
{{- define "binlog-operator.streamRules" -}}
# Specs are read; only the status is written.
- apiGroups: [binlogstream.io]
  resources: [binlogstreams]
  verbs: [get, list, watch]
- apiGroups: [binlogstream.io]
  resources: [binlogstreams/status]
  verbs: [get, patch, update]
# Children name their stream as blocking owner; some clusters ask for this right before they allow it.
- apiGroups: [binlogstream.io]
  resources: [binlogstreams/finalizers]
  verbs: [update]
# The worker's config and its checkpoint. `update` is not used here: a worker's Role grants get,
# patch and update of its own checkpoint, and RBAC lets nobody grant what he does not hold.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, update]
- apiGroups: [""]
  resources: [serviceaccounts, services]
  verbs: [get, list, watch, create, patch]
# Archive volumes are made and found again, never deleted.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
