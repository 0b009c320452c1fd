// What an environment chooses: the content of env/<name>.json. Every property may be left out.

@export()
@description('A managed identity, the app roles it holds and the functions that call with it.')
@sealed()
type identityChoice = {
  // Short name, part of the resource name.
  name: string

  // App roles of the API it is given: Api.Read, or Api.Write and Api.Read for a writer.
  // Another team's API (external) has roles of its own.
  @minLength(1)
  roles: string[]

  // Functions that use this identity. Functions named nowhere use the first identity.
  functions: string[]?

  // For an API in another tenant: client id of a multitenant registration of our own tenant, made by
  // hand, that trusts this identity (federated credential) and that the API's tenant has let in.
  // Default: the identity calls as itself.
  federatedApp: string?
}

@export()
@description('A role that an identity needs on the resource behind a trigger or a binding.')
@sealed()
type triggerRole = {
  kind: 'cosmosDb' | 'eventHubs' | 'serviceBus' | 'storage'

  // Name of the account or namespace.
  name: string

  resourceGroup: string
  subscription: string?

  // GUID of the role definition; for cosmosDb one of its data plane roles.
  role: string
}

@export()
@description('An existing resource of another group or subscription.')
@sealed()
type existingResource = {
  name: string
  resourceGroup: string
  subscription: string?
}

@export()
@description('An operation of the API: method, path, and which role its policy asks for.')
@sealed()
type apiOperation = {
  name: string
  method: 'DELETE' | 'GET' | 'HEAD' | 'OPTIONS' | 'PATCH' | 'POST' | 'PUT'

  // Begins with "/". A {name} in it stands for a part of the path.
  urlTemplate: string

  // read asks for Api.Read, write for Api.Write as well. Default read.
  access: ('read' | 'write')?
}

@export()
@description('The API that the template makes, in a new API Management service or an existing one.')
@sealed()
type apiChoice = {
  // Name of the API, its product and its subscription, and prefix of its named values. Default
  // relay. In an existing service the environment's own suffix is added to it.
  name: string?

  // URL path of the API; no other API of the service may have it. Default: the name above.
  path: string?

  // The backend. Without one the product answers by itself, after all checks: the deployment proves
  // itself alone.
  backendUrl: string?

  operations: apiOperation[]?

  // An existing API Management service. Without one a new service is made.
  existing: existingResource?

  // Where the functions reach the gateway, for instance its custom domain, without a path.
  // Default: the address that the service itself names.
  gatewayUrl: string?

  // Tier of the new service. Default Consumption.
  sku: ('Basic' | 'BasicV2' | 'Consumption' | 'Developer' | 'Premium' | 'PremiumV2' | 'Standard' | 'StandardV2')?

  // Where the new service sends its mails. Default: who deploys; a pipeline must name somebody.
  publisherEmail: string?
  publisherName: string?

  // Path that the functions call, below the API. Default: the API itself.
  callPath: string?
}

@export()
@description('An app registration that somebody else owns, or that scripts/registration made.')
@sealed()
type registrationChoice = {
  clientId: string
  appIdUri: string
}

@export()
@description('An API that another team runs: identity and app only, and a request to that team.')
@sealed()
type externalApi = {
  url: string
  targetApp: string
  tenantId: string?
  role: string
  keyHeader: string?
}

@export()
@description('App Service Authentication: the app\'s own HTTP functions ask for a token of Entra.')
@sealed()
type authenticationChoice = {
  // Client id of the registration that tokens are made for.
  clientId: string

  // Its App ID URI and other audiences. Default: the client id alone.
  audiences: string[]?

  // Client ids of the applications that may call. Default: every one that gets such a token.
  callers: string[]?
}

@export()
@description('Ids of the two subnets of a region.')
@sealed()
type subnetPair = {
  app: string
  endpoints: string
}

@export()
@description('Ids of private DNS zones. Where one is missing somebody else writes the record.')
@sealed()
type zoneChoice = {
  blob: string?
  vault: string?
  gateway: string?
  site: string?
}

@export()
@description('Instances that never sleep: http, or function:<name>.')
@sealed()
type alwaysReadyGroup = {
  name: string
  instanceCount: int
}

@export()
@description('Network isolation.')
@sealed()
type networkChoice = {
  // Private endpoints for storage, vault and a new gateway, the app inside a network. Storage and
  // vault have no public way in.
  isolated: bool

  // No public way into the app itself either. Whoever publishes to it, calls it or asks for its
  // health must then stand inside the network, azd and a pipeline as well.
  closedApp: bool?

  // One /24 for each region, in the order of the regions. Default 10.80.<n>.0/24.
  addressPrefixes: string[]?

  // Existing subnets, one entry for each region: ids. The first is delegated to
  // Microsoft.App/environments. An existing vault's endpoint is then yours to make.
  subnets: subnetPair[]?

  // Existing private DNS zones for existing subnets.
  zones: zoneChoice?
}

@export()
@description('The content of env/<name>.json.')
@sealed()
type configuration = {
  // A group that is there already: it is used as it is, and azd asks before it takes it away.
  // Default: a group of the environment's own, rg-<name>.
  resourceGroup: string?
  tags: { *: string }?

  // Regions, each once, written like westeurope. Timers run in the first one only. Default: the
  // location of the environment.
  locations: string[]?

  // Plan and storage over several zones of each region. To be chosen at the beginning: a template
  // cannot change the redundancy of a storage account.
  zoneRedundant: bool?

  identityKind: ('SystemAssigned' | 'UserAssigned')?

  // The first one also serves the host (storage, telemetry, vault). Default: one, with the role
  // Api.Read.
  @minLength(1)
  identities: identityChoice[]?

  // Functions with a timer trigger. Default: poll.
  timers: string[]?

  // The longest pause between two runs of each timer, in minutes. deploy/environment reads it from
  // function.json. A timer that is not here, or runs less than once a day, has no alert.
  timerMinutes: { *: int }?

  // More app settings: what functions need of their own (<Function>__ApimUrl,
  // <Connection>__fullyQualifiedNamespace, %names%).
  settings: { *: string }?

  triggerRoles: triggerRole[]?

  api: apiChoice?
  registration: registrationChoice?
  external: externalApi?
  authentication: authenticationChoice?

  // An existing vault for the subscription keys. Its access goes by role assignments.
  vault: existingResource?

  // Blocks the final deletion of the vault for good. Default true; env/default.json says false, so
  // that what is tried out can be taken away and made again at once.
  purgeProtection: bool?

  network: networkChoice?

  // The Logic App that makes the same call. Default true.
  logicApp: bool?

  // Rights on queues and tables of the host storage account, for functions that use them there.
  storageQueues: bool?
  storageTables: bool?

  // 512, 2048 or 4096. Default 2048.
  instanceMemoryMB: int?

  // Default 40.
  @minValue(40)
  @maxValue(1000)
  maximumInstanceCount: int?

  // HTTP calls at a time in one instance. Default: what the platform takes for the memory.
  @minValue(1)
  @maxValue(1000)
  httpConcurrency: int?

  // Instances that never sleep: [{ "name": "http", "instanceCount": 1 }].
  alwaysReady: alwaysReadyGroup[]?

  // Developers may fetch tokens for the API with Azure CLI. Not for production.
  development: bool?

  // Ids of action groups that hear of alerts.
  actionGroups: string[]?

  @minValue(30)
  @maxValue(730)
  retentionInDays: int?

  // Resource logs of app, Logic App and storage into the workspace as well. What functions say then
  // stands there twice, and is paid for twice.
  resourceLogs: bool?
}
