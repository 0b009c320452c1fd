package main

import (
	"fmt"
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
  PollSchedule: "0 */5 * * * *"
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
%[3]s          readinessProbe:
            httpGet:
              path: /api/health
              port: 80
            periodSeconds: 10
          resources:
            requests:
              cpu: 100m
              memory: 256Mi
            limits:
              memory: 1Gi
          securityContext:
            allowPrivilegeEscalation: false
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

func render(all []function, image string) (string, error) {
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
		kind, metadata, err := scaler(f)
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

// scaler is KEDA's description of what waits for a function: keda.sh/docs, scalers of these names.
func scaler(f function) (kind string, metadata [][2]string, err error) {
	connection := f.text("connection")
	if connection == "" {
		connection = "AzureWebJobsStorage"
	}
	account := [2]string{"accountName", "<storage account of " + connection + ">"}
	switch f.kind() {
	case "queuetrigger":
		return "azure-queue", [][2]string{{"queueName", f.text("queueName")}, {"queueLength", "16"}, account}, nil
	case "blobtrigger":
		container, _, _ := strings.Cut(f.text("path"), "/")
		return "azure-blob", [][2]string{{"blobContainerName", container}, {"blobCount", "16"}, account}, nil
	case "servicebustrigger":
		namespace := [2]string{"namespace", "<namespace of " + connection + ">"}
		if queue := f.text("queueName"); queue != "" {
			return "azure-servicebus", [][2]string{{"queueName", queue}, {"messageCount", "16"}, namespace}, nil
		}
		return "azure-servicebus", [][2]string{{"topicName", f.text("topicName")}, {"subscriptionName", f.text("subscriptionName")}, {"messageCount", "16"}, namespace}, nil
	case "eventhubtrigger":
		group := f.text("consumerGroup")
		if group == "" {
			group = "$Default"
		}
		return "azure-eventhub", [][2]string{
			{"eventHubNamespace", "<namespace of " + connection + ">"}, {"eventHubName", f.text("eventHubName")}, {"consumerGroup", group},
			{"checkpointStrategy", "azureFunction"}, {"storageAccountName", "<storage account of AzureWebJobsStorage>"}, {"blobContainer", "azure-webjobs-eventhub"},
		}, nil
	}
	return "", nil, fmt.Errorf("scaling the function %s: KEDA has no scaler for %s that we know: want queueTrigger, blobTrigger, serviceBusTrigger or eventHubTrigger, "+
		"or run it in a deployment that does not sleep", f.name, f.text("type"))
}
