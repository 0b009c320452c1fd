// What the policies must say, and between which bounds. policies_test.go reads them as XML.
import { verify } from "./seeds.mjs";

// Elements with their attributes, in order, comments left out.
function elements(text) {
  return [...text.replace(/<!--.*?-->/gs, "").matchAll(/<([\w-]+)((?:\s+[\w-]+="[^"]*")*)\s*\/?>([^<]*)/g)].map(([, element, attributes, inner]) => ({
    element,
    inner: inner.trim(),
    ...Object.fromEntries([...attributes.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value])),
  }));
}

const token = { "header-name": "Authorization", "failed-validation-httpcode": "401", "require-expiration-time": "true", "require-scheme": "Bearer", "require-signed-tokens": "true" };
const folder = "deploy/policies/";

function policiesHold({ texts }) {
  const findings = [];
  const read = (name) => elements(texts.get(folder + name));

  for (const [file, role] of [["api.xml", "Api.Read"], ["operation-write.xml", "Api.Write"]]) {
    const all = read(file);
    const jwt = all.filter((e) => e.element === "validate-jwt");
    if (jwt.length !== 1) {
      findings.push(`${folder}${file}: want one validate-jwt, got ${jwt.length}`);
      continue;
    }
    for (const [key, value] of Object.entries(token)) if (jwt[0][key] !== value) findings.push(`${folder}${file}: validate-jwt: ${key}: want ${value}, got ${jwt[0][key] ?? "nothing"}`);
    const skew = Number(jwt[0]["clock-skew"]);
    if (!(skew >= 10 && skew <= 300)) findings.push(`${folder}${file}: validate-jwt: clock-skew: want 10 to 300 seconds, got ${jwt[0]["clock-skew"]}`);
    const inner = (name) => all.filter((e) => e.element === name).map((e) => e.inner);
    if (inner("audience").join() !== "{{client-id}},{{app-id-uri}}") findings.push(`${folder}${file}: audiences: want client-id and app-id-uri, got ${inner("audience")}`);
    if (!all.some((e) => e.element === "openid-config" && e.url === "{{openid-config-url}}")) findings.push(`${folder}${file}: want the metadata of openid-config-url`);
    const claims = all.filter((e) => e.element === "claim");
    if (claims.length !== 1 || claims[0].name !== "roles" || claims[0].match !== "any") findings.push(`${folder}${file}: want one claim, roles, any of its values`);
    if (inner("value").join() !== role) findings.push(`${folder}${file}: want the role ${role}, letter by letter, got ${inner("value")}`);
  }

  // The caller's credentials end at the gateway, once the token has been looked at.
  const all = read("api.xml");
  const gone = all.filter((e) => e.element.startsWith("set-") && e["exists-action"] === "delete");
  for (const name of ["Authorization", "Ocp-Apim-Subscription-Key", "subscription-key"]) if (!gone.some((e) => e.name === name)) findings.push(`${folder}api.xml: ${name} is passed on to the backend`);
  if (all.findIndex((e) => e.element.startsWith("set-")) < all.findIndex((e) => e.element === "validate-jwt")) findings.push(`${folder}api.xml: credentials are removed before they are looked at`);

  for (const file of ["product.xml", "product-mock.xml"]) {
    const [limit, ...more] = read(file).filter((e) => e.element === "rate-limit");
    if (!limit || more.length) findings.push(`${folder}${file}: want one rate-limit`);
    else {
      // In calls a second: a timer, a Logic App and some people at once, and no flood.
      const rate = Number(limit.calls) / Number(limit["renewal-period"]);
      if (!(rate >= 1 && rate <= 100) || Number(limit["renewal-period"]) > 300) findings.push(`${folder}${file}: rate-limit: want 1 to 100 calls a second over 300 seconds at most, got ${limit.calls} in ${limit["renewal-period"]}`);
    }
    const answers = read(file).some((e) => e.element === "return-response");
    if (answers !== (file === "product-mock.xml")) findings.push(`${folder}${file}: return-response belongs into the mock and nowhere else`);
  }
  const status = read("product-mock.xml").find((e) => e.element === "set-status");
  if (status?.code !== "200") findings.push(`${folder}product-mock.xml: set-status: want 200, got ${status?.code}`);
  return findings;
}

const write = "deploy/policies/operation-write.xml";
verify("policies hold", policiesHold, [
  { fault: "an audience that was left out", file: write, from: "        <audience>{{app-id-uri}}</audience>\n", to: "", want: /audiences/ },
  { fault: "another scheme", file: write, from: 'require-scheme="Bearer"', to: 'require-scheme="Basic"', want: /require-scheme/ },
  { fault: "the key passed on", file: "deploy/policies/api.xml", from: '    <set-query-parameter name="subscription-key" exists-action="delete" />\n', to: "", want: /subscription-key is passed on/ },
  { fault: "the reader's role for writers", file: write, from: "<value>Api.Write</value>", to: "<value>Api.Read</value>", want: /want the role Api\.Write/ },
  { fault: "a limit that stops no flood", file: "deploy/policies/product-mock.xml", from: 'calls="600"', to: 'calls="600000"', want: /rate-limit/ },
]);
