// The Kubernetes objects against the schemas of Kubernetes and KEDA, as npm packages carry them.
import * as keda from "@kubernetes-models/keda/keda.sh/v1alpha1";
import * as apps from "kubernetes-models/apps/v1";
import * as core from "kubernetes-models/v1";
import { parseAllDocuments } from "yaml";
import { verify } from "./seeds.mjs";

const models = {
  "v1/ServiceAccount": core.ServiceAccount,
  "v1/ConfigMap": core.ConfigMap,
  "v1/Service": core.Service,
  "apps/v1/Deployment": apps.Deployment,
  "keda.sh/v1alpha1/ScaledObject": keda.ScaledObject,
  "keda.sh/v1alpha1/TriggerAuthentication": keda.TriggerAuthentication,
};

function manifestsHold({ texts }) {
  const findings = [];
  for (const [file, text] of texts) {
    if (!/^deploy\/container\/kubernetes\/.*\.yaml$/.test(file)) continue;
    const objects = [];
    for (const document of parseAllDocuments(text)) {
      for (const error of document.errors) findings.push(`${file}: ${error.message.split("\n")[0]}`);
      if (document.errors.length === 0) objects.push(document.toJS());
    }
    for (const item of objects) {
      const at = `${file}: ${item.kind} ${item.metadata?.name}`;
      const Model = models[`${item.apiVersion}/${item.kind}`];
      if (!Model) {
        findings.push(`${at}: ${item.apiVersion} ${item.kind} is no kind that we know`);
        continue;
      }
      try {
        new Model(item).validate();
      } catch (cause) {
        findings.push(`${at}: ${cause.message}`);
        continue;
      }
      findings.push(...references(at, item, objects));
    }
  }
  return findings;
}

// What names another object must find it.
function references(at, item, objects) {
  const findings = [];
  const has = (kind, name) => objects.some((o) => o.kind === kind && o.metadata.name === name);
  const need = (kind, name) => has(kind, name) || findings.push(`${at}: there is no ${kind} ${name}`);
  if (item.kind === "Deployment") {
    const { template, selector } = item.spec;
    for (const [key, value] of Object.entries(selector.matchLabels)) if (template.metadata.labels[key] !== value) findings.push(`${at}: the selector does not fit its own pods`);
    if (template.metadata.labels["azure.workload.identity/use"] !== "true") findings.push(`${at}: workload identity is off`);
    need("ServiceAccount", template.spec.serviceAccountName);
    for (const container of template.spec.containers) {
      for (const source of container.envFrom ?? []) need("ConfigMap", source.configMapRef.name);
      if (!/@sha256:[0-9a-f]{64}$/.test(container.image)) findings.push(`${at}: the image is not named by digest`);
      for (const { name, value } of container.env) if (/^ApimKey/.test(name) && value) findings.push(`${at}: ${name} is in plain text`);
      findings.push(...listens(at, container), ...hardened(at, template.spec, container));
    }
  }
  if (item.kind === "Service" && !objects.some((o) => o.kind === "Deployment" && Object.entries(item.spec.selector).every(([k, v]) => o.spec.template.metadata.labels[k] === v))) findings.push(`${at}: its selector finds no pods`);
  if (item.kind === "ScaledObject") {
    need("Deployment", item.spec.scaleTargetRef.name);
    for (const trigger of item.spec.triggers) {
      need("TriggerAuthentication", trigger.authenticationRef.name);
      findings.push(...scaler(at, trigger, objects));
    }
  }
  return findings;
}

// The host listens on port 80 of its image, and health answers there.
const listening = 80;
function listens(at, container) {
  const findings = [];
  for (const { containerPort } of container.ports) if (containerPort !== listening) findings.push(`${at}: port ${containerPort}: the host listens on ${listening}`);
  for (const name of ["startupProbe", "readinessProbe", "livenessProbe"]) {
    const probe = container[name]?.httpGet;
    if (probe?.port !== listening || probe?.path !== "/api/health") findings.push(`${at}: ${name}: want /api/health on port ${listening}, got ${probe?.path} on ${probe?.port}`);
  }
  return findings;
}

// Nothing that the app has no use for: no token of the cluster, no root, no capabilities, no end of memory.
function hardened(at, pod, container) {
  const findings = [];
  const want = (what, is) => is || findings.push(`${at}: ${what}`);
  want("automountServiceAccountToken: want false", pod.automountServiceAccountToken === false);
  want("runAsNonRoot: want true", pod.securityContext?.runAsNonRoot === true && pod.securityContext.runAsUser > 0);
  want("seccompProfile: want RuntimeDefault", pod.securityContext?.seccompProfile?.type === "RuntimeDefault");
  want("allowPrivilegeEscalation: want false", container.securityContext?.allowPrivilegeEscalation === false);
  want("capabilities: want all of them dropped", container.securityContext?.capabilities?.drop?.includes("ALL") && !container.securityContext.capabilities.add);
  for (const kind of ["requests", "limits"]) for (const name of ["cpu", "memory"]) want(`resources: want ${kind} of ${name}`, container.resources?.[kind]?.[name] !== undefined);
  const mounted = container.volumeMounts?.map((mount) => mount.name) ?? [];
  for (const name of mounted) want(`volumeMounts: there is no volume ${name}`, pod.volumes?.some((volume) => volume.name === name));
  return findings;
}

// KEDA's scalers that the app's triggers need, with what each must know (keda.sh/docs, scalers).
const scalers = {
  "azure-blob": ["blobContainerName", "accountName"],
  "azure-eventhub": ["eventHubNamespace", "eventHubName", "consumerGroup", "checkpointStrategy", "storageAccountName", "blobContainer"],
  "azure-queue": ["queueName", "accountName"],
  "azure-servicebus": ["namespace"],
};
function scaler(at, trigger, objects) {
  const where = `${at}: ${trigger.type}`;
  if (!scalers[trigger.type]) return [`${where}: KEDA has no such scaler: want one of ${Object.keys(scalers).join(", ")}`];
  const findings = scalers[trigger.type].filter((name) => !trigger.metadata[name]).map((name) => `${where}: ${name} is missing`);
  if (trigger.type === "azure-servicebus" && !trigger.metadata.queueName === !(trigger.metadata.topicName && trigger.metadata.subscriptionName)) findings.push(`${where}: want queueName, or topicName and subscriptionName`);
  const settings = objects.filter((o) => o.kind === "ConfigMap").flatMap((o) => Object.values(o.data)).join("\n");
  for (const [name, value] of Object.entries(trigger.metadata)) {
    if (typeof value !== "string") findings.push(`${where}: ${name}: want a text, got ${value}`);
    else if (value.includes("%")) findings.push(`${where}: ${name}: KEDA does not know ${value}: only the host looks names up`);
    else for (const [placeholder] of value.matchAll(/<[^>]+>/g)) if (!settings.includes(placeholder)) findings.push(`${where}: ${name}: the app has no setting with ${placeholder}`);
  }
  return findings;
}

const relay = "deploy/container/kubernetes/relay.yaml";
const events = "deploy/container/kubernetes/example-events.yaml";
verify("manifests hold", manifestsHold, [
  { fault: "the cluster's token in the pod", file: relay, from: "automountServiceAccountToken: false", to: "automountServiceAccountToken: true", want: /automountServiceAccountToken/ },
  { fault: "root", file: relay, from: "        runAsNonRoot: true\n", to: "", want: /runAsNonRoot/ },
  { fault: "capabilities that were kept", file: relay, from: "                - ALL", to: "                - NET_RAW", want: /capabilities/ },
  { fault: "no seccomp profile", file: relay, from: "type: RuntimeDefault", to: "type: Unconfined", want: /seccompProfile/ },
  { fault: "no limit", file: relay, from: '            limits:\n              cpu: "1"\n', to: "            limits:\n", want: /limits of cpu/ },
  { fault: "a probe that was lost", file: relay, from: "          livenessProbe:", to: "          lifecycle: {}\n          x-livenessProbe:", want: /livenessProbe|unevaluated|additional/ },
  { fault: "a connection that the app does not have", file: events, from: 'namespace: "<namespace of Orders>"', to: 'namespace: "<namespace of Order>"', want: /no setting with <namespace of Order>/ },
  { fault: "a field that is missing", file: relay, from: "  selector:\n    matchLabels:\n      app: relay\n", to: "", want: /selector/ },
  { fault: "text for a number", file: relay, from: "replicas: 1", to: "replicas: one", want: /replicas/ },
  { fault: "broken YAML", file: relay, from: "metadata:\n  name: relay\n", to: "metadata:\n  name: [relay\n", want: /relay\.yaml/ },
  { fault: "a service account that is not there", file: relay, from: "serviceAccountName: relay", to: "serviceAccountName: other", want: /no ServiceAccount other/ },
  { fault: "a service that finds no pods", file: relay, from: "  selector:\n    app: relay\n  ports", to: "  selector:\n    app: other\n  ports", want: /finds no pods/ },
  { fault: "a scaled object for nothing", file: events, from: "scaleTargetRef:\n    name: relay-events", to: "scaleTargetRef:\n    name: events", want: /no Deployment events/ },
  { fault: "an image by tag", file: relay, from: /@sha256:0+/.exec("@sha256:" + "0".repeat(64))[0], to: ":latest", want: /by digest/ },
  { fault: "a key in plain text", file: relay, from: "            - name: ApimKey\n              valueFrom:\n                secretKeyRef:\n                  name: relay\n                  key: apim-key\n", to: "            - name: ApimKey\n              value: abc\n", want: /plain text/ },
]);
