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
    }
  }
  if (item.kind === "Service" && !objects.some((o) => o.kind === "Deployment" && Object.entries(item.spec.selector).every(([k, v]) => o.spec.template.metadata.labels[k] === v))) findings.push(`${at}: its selector finds no pods`);
  if (item.kind === "ScaledObject") {
    need("Deployment", item.spec.scaleTargetRef.name);
    for (const trigger of item.spec.triggers) need("TriggerAuthentication", trigger.authenticationRef.name);
  }
  return findings;
}

const relay = "deploy/container/kubernetes/relay.yaml";
const events = "deploy/container/kubernetes/example-events.yaml";
verify("manifests hold", manifestsHold, [
  { fault: "a field that is missing", file: relay, from: "  selector:\n    matchLabels:\n      app: relay\n", to: "", want: /selector/ },
  { fault: "text for a number", file: relay, from: "replicas: 1", to: "replicas: one", want: /replicas/ },
  { fault: "broken YAML", file: relay, from: "metadata:\n  name: relay\n", to: "metadata:\n  name: [relay\n", want: /relay\.yaml/ },
  { fault: "a service account that is not there", file: relay, from: "serviceAccountName: relay", to: "serviceAccountName: other", want: /no ServiceAccount other/ },
  { fault: "a service that finds no pods", file: relay, from: "  selector:\n    app: relay\n  ports", to: "  selector:\n    app: other\n  ports", want: /finds no pods/ },
  { fault: "a scaled object for nothing", file: events, from: "scaleTargetRef:\n    name: relay-events", to: "scaleTargetRef:\n    name: events", want: /no Deployment events/ },
  { fault: "an image by tag", file: relay, from: /@sha256:0+/.exec("@sha256:" + "0".repeat(64))[0], to: ":latest", want: /by digest/ },
  { fault: "a key in plain text", file: relay, from: "            - name: ApimKey\n              valueFrom:\n                secretKeyRef:\n                  name: relay\n                  key: apim-key\n", to: "            - name: ApimKey\n              value: abc\n", want: /plain text/ },
]);
