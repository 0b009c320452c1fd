package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The values in <angle brackets> are the user's: the program refuses a setting that still has them.
const head = `# Made from the functions by deploy/container/manifests. Values in <angle brackets> are yours.
# Identity: Microsoft Entra Workload ID. Federate the managed identity with this service account first:
#   az identity federated-credential create --identity-name <identity> -g <group> --name relay \
#     --issuer <the cluster's OIDC issuer> --subject system:serviceaccount:default:relay
apiVersion: v1
kind: ServiceAccount
metadata:
  name: relay
  annotations:
    azure.workload.identity/client-id: <client id of the managed identity>
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: relay
data:
  AzureWebJobsStorage__blobServiceUri: https://<storage account>.blob.core.windows.net
  TargetApp: <App ID URI of the API>
  TargetTenantID: <tenant id>
  TargetRole: Api.Read
  FunctionIdentity: RunAs=Workload
  ApimUrl: <https://gateway/api>
`

const deployment = `---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
spec:
  replicas: 1
  selector:
    matchLabels:
      app: %[1]s
  template:
    metadata:
      labels:
        app: %[1]s
        azure.workload.identity/use: "true"
    spec:
      serviceAccountName: relay
      # Workload identity brings a token of its own; the cluster's is of no use to the app.
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 1000
        runAsGroup: 1000
        fsGroup: 1000
        seccompProfile:
          type: RuntimeDefault
        sysctls:
          # The host listens on port 80, which some clusters keep for root.
          - name: net.ipv4.ip_unprivileged_port_start
            value: "0"
      terminationGracePeriodSeconds: 60
      containers:
        - name: relay
          image: %[2]s
          ports:
            - containerPort: 80
          envFrom:
            - configMapRef:
                name: relay
          env:
            - name: ApimKey
              valueFrom:
                secretKeyRef:
                  name: relay
                  key: apim-key
%[3]s          startupProbe:
            httpGet:
              path: /api/health
              port: 80
            periodSeconds: 5
            failureThreshold: 36
          readinessProbe:
            httpGet:
              path: /api/health
              port: 80
            periodSeconds: 10
            timeoutSeconds: 5
          livenessProbe:
            httpGet:
              path: /api/health
              port: 80
            periodSeconds: 20
            timeoutSeconds: 10
            failureThreshold: 6
          resources:
            requests:
              cpu: 100m
              memory: 256Mi
            limits:
              cpu: "1"
              memory: 1Gi
          securityContext:
            allowPrivilegeEscalation: false
            capabilities:
              drop:
                - ALL
          volumeMounts:
            - name: scratch
              mountPath: /tmp
              subPath: tmp
            - name: scratch
              mountPath: /home/LogFiles
              subPath: logs
            - name: scratch
              mountPath: /home/data
              subPath: data
      # Where the host writes: it does not run as root, so nothing else is open to it.
      volumes:
        - name: scratch
          emptyDir:
            sizeLimit: 1Gi
`

const service = `---
apiVersion: v1
kind: Service
metadata:
  name: relay
spec:
  selector:
    app: relay
  ports:
    - port: 80
      targetPort: 80
`

const scaled = `---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: relay
spec:
  podIdentity:
    provider: azure-workload
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: relay-events
spec:
  scaleTargetRef:
    name: relay-events
  minReplicaCount: 0
  maxReplicaCount: 10
  triggers:
`

func render(all []function, settings map[string]string, image string) (string, error) {
	var resident, events []function
	for _, f := range all {
		if f.resident() {
			resident = append(resident, f)
		} else {
			events = append(events, f)
		}
	}
	var b strings.Builder
	b.WriteString(head)
	for _, pair := range appSettings(all, settings) {
		fmt.Fprintf(&b, "  %s: %s\n", pair[0], strconv.Quote(pair[1]))
	}
	fmt.Fprintf(&b, deployment, "relay", image, disabled(events))
	b.WriteString(service)
	if len(events) == 0 {
		return b.String(), nil
	}
	// health stays on: the probe asks for it.
	var quiet []function
	for _, f := range resident {
		if f.name != "health" {
			quiet = append(quiet, f)
		}
	}
	fmt.Fprintf(&b, deployment, "relay-events", image, disabled(quiet))
	b.WriteString(scaled)
	for _, f := range events {
		kind, metadata, err := scaler(f, settings)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "    - type: %s # %s\n      authenticationRef:\n        name: relay\n      metadata:\n", kind, f.name)
		for _, pair := range metadata {
			fmt.Fprintf(&b, "        %s: %s\n", pair[0], strconv.Quote(pair[1]))
		}
	}
	return b.String(), nil
}

// disabled switches off what the other deployment runs, so that no event and no tick is served twice.
func disabled(functions []function) string {
	var b strings.Builder
	for _, f := range functions {
		// Dots are allowed in the names of a container's environment, and the host reads them so.
		fmt.Fprintf(&b, "            - name: AzureWebJobs.%s.Disabled\n              value: \"true\"\n", f.name)
	}
	return b.String()
}

// appSettings is what the functions need beside what every app has: the settings that were chosen, the
// %names% of function.json, and the address of each connection. Sorted by name.
func appSettings(all []function, settings map[string]string) [][2]string {
	made := maps.Clone(settings)
	has := func(name string) bool {
		for key := range made {
			if strings.EqualFold(key, name) {
				return true
			}
		}
		return false
	}
	want := func(name, value string) {
		if !has(name) {
			made[name] = value
		}
	}
	for _, f := range all {
		for _, name := range f.names {
			want(name, "<"+name+">")
		}
		connection := f.connection(settings)
		storage := func(service string) {
			if connection == "AzureWebJobsStorage" && service == "blob" {
				return // every app has it
			}
			want(connection+"__"+service+"ServiceUri", "https://"+accountOf(connection, settings)+"."+service+".core.windows.net")
		}
		switch f.kind() {
		case "queuetrigger":
			storage("queue")
		case "blobtrigger":
			// The host keeps what could not be handled, and what is still to be, in queues of the same
			// account (learn.microsoft.com "Azure Blob storage trigger", identity-based connections).
			storage("blob")
			storage("queue")
		case "servicebustrigger", "eventhubtrigger":
			want(connection+"__fullyQualifiedNamespace", namespaceOf(connection, settings)+".servicebus.windows.net")
		}
	}
	var pairs [][2]string
	for _, name := range slices.Sorted(maps.Keys(made)) {
		pairs = append(pairs, [2]string{name, made[name]})
	}
	return pairs
}

// lookUp is a setting by its name, in any case; the name itself where it is not set.
func lookUp(settings map[string]string, name string) string {
	for key, value := range settings {
		if strings.EqualFold(key, name) {
			return value
		}
	}
	return name
}

// accountOf is the storage account that a connection's addresses name, or <storage account of …>.
func accountOf(connection string, settings map[string]string) string {
	for _, service := range []string{"blob", "queue"} {
		address := lookUp(settings, connection+"__"+service+"ServiceUri")
		if host, found := strings.CutPrefix(address, "https://"); found {
			account, _, _ := strings.Cut(host, ".")
			return account
		}
	}
	name := connection + "__accountName"
	if account := lookUp(settings, name); account != name {
		return account
	}
	if connection == "AzureWebJobsStorage" {
		return "<storage account>"
	}
	return "<storage account of " + connection + ">"
}

// namespaceOf is the namespace that a connection's address names, or <namespace of …>.
func namespaceOf(connection string, settings map[string]string) string {
	name := connection + "__fullyQualifiedNamespace"
	address := lookUp(settings, name)
	if address == name {
		return "<namespace of " + connection + ">"
	}
	namespace, _, _ := strings.Cut(address, ".")
	return namespace
}

// scaler is KEDA's description of what waits for a function: keda.sh/docs, scalers of these names.
func scaler(f function, settings map[string]string) (kind string, metadata [][2]string, err error) {
	text := func(name string) string { return f.resolved(name, settings) }
	connection := f.connection(settings)
	account := [2]string{"accountName", accountOf(connection, settings)}
	switch f.kind() {
	case "queuetrigger":
		return "azure-queue", [][2]string{{"queueName", text("queueName")}, {"queueLength", "16"}, account}, nil
	case "blobtrigger":
		container, _, _ := strings.Cut(text("path"), "/")
		return "azure-blob", [][2]string{{"blobContainerName", container}, {"blobCount", "16"}, account}, nil
	case "servicebustrigger":
		namespace := [2]string{"namespace", namespaceOf(connection, settings)}
		if queue := text("queueName"); queue != "" {
			return "azure-servicebus", [][2]string{{"queueName", queue}, {"messageCount", "16"}, namespace}, nil
		}
		return "azure-servicebus", [][2]string{{"topicName", text("topicName")}, {"subscriptionName", text("subscriptionName")}, {"messageCount", "16"}, namespace}, nil
	case "eventhubtrigger":
		return "azure-eventhub", [][2]string{
			{"eventHubNamespace", namespaceOf(connection, settings)}, {"eventHubName", text("eventHubName")},
			{"consumerGroup", cmp.Or(text("consumerGroup"), "$Default")}, {"checkpointStrategy", "azureFunction"},
			{"storageAccountName", accountOf("AzureWebJobsStorage", settings)}, {"blobContainer", "azure-webjobs-eventhub"},
		}, nil
	}
	return "", nil, fmt.Errorf("scaling the function %s: KEDA has no scaler for %s that we know: want queueTrigger, blobTrigger, serviceBusTrigger or eventHubTrigger, "+
		"or run it in a deployment that does not sleep", f.name, f.text("type"))
}
