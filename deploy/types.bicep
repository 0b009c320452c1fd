// What an environment chooses: the content of env/<name>.json. Every property may be left out.

@export()
@description('A managed identity, the app roles it holds and the functions that call with it.')
@sealed()
type identityChoice = {
  // Short name, part of the resource name.
  name: string

  // App roles of the API it is given, for instance Api.Read.
  roles: string[]

  // Functions that use this identity. Functions named nowhere use the first identity.
  functions: string[]?
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
@description('An operation of the API: its method and path, and which role its policy asks for.')
@sealed()
type apiOperation = {
  name: string
  method: string
  urlTemplate: string
  access: ('read' | 'write')?
}

@export()
@description('The API in API Management that the template makes, in a new service or in an existing one.')
@sealed()
type apiChoice = {
  // Name of the API, of its product and subscription, and prefix of its named values. Default relay.
  name: string?

  // URL path of the API. Default: its name.
  path: string?

  // The backend. Without one the product answers by itself, after all checks: the deployment proves itself alone.
  backendUrl: string?

  operations: apiOperation[]?

  // An existing API Management service. Without one a new service is made.
  existing: existingResource?

  // Tier of the new service. Default Consumption.
  sku: ('Basic' | 'BasicV2' | 'Consumption' | 'Developer' | 'Premium' | 'Standard' | 'StandardV2')?

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
@description('An API that another team runs: only identity and app are deployed, and a request to that team is printed.')
@sealed()
type externalApi = {
  url: string
  targetApp: string
  tenantId: string?
  role: string
  keyHeader: string?
}

@export()
@description('Ids of the two subnets of a region.')
@sealed()
type subnetPair = {
  app: string
  endpoints: string
}

@export()
@description('Ids of the two private DNS zones.')
@sealed()
type zonePair = {
  blob: string
  vault: string
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
  // Private endpoints for storage and vault, the app inside a network, no public way to either.
  isolated: bool

  // One /24 for each region, in the order of the regions. Default 10.80.<n>.0/24.
  addressPrefixes: string[]?

  // Existing subnets, one entry for each region: ids. The first is delegated to Microsoft.App/environments.
  subnets: subnetPair[]?

  // Existing private DNS zones (ids) for existing subnets. Without them no zone group is made.
  zones: zonePair?
}

@export()
@description('The content of env/<name>.json.')
@sealed()
type configuration = {
  resourceGroup: string?
  tags: object?

  // Regions. Timers run in the first one only. Default: the location of the environment.
  locations: string[]?

  identityKind: ('SystemAssigned' | 'UserAssigned')?

  // The first one also serves the host (storage, telemetry, vault). Default: one, with the role Api.Read.
  identities: identityChoice[]?

  // Functions with a timer trigger. Default: poll.
  timers: string[]?

  // More app settings: what functions need of their own (<Function>__ApimUrl, <Connection>__fullyQualifiedNamespace, %names%).
  settings: object?

  triggerRoles: triggerRole[]?

  api: apiChoice?
  registration: registrationChoice?
  external: externalApi?

  // An existing vault for the subscription keys.
  vault: existingResource?

  // Blocks the final deletion of the vault for good. Default true.
  purgeProtection: bool?

  network: networkChoice?

  // The Logic App that makes the same call. Default true.
  logicApp: bool?

  // Rights on queues and tables of the host storage account, for functions that use them there.
  storageQueues: bool?
  storageTables: bool?

  // 512, 2048 or 4096. Default 2048.
  instanceMemoryMB: int?
  maximumInstanceCount: int?

  // Instances that never sleep: [{ "name": "http", "instanceCount": 1 }].
  alwaysReady: alwaysReadyGroup[]?

  // Developers may fetch tokens for the API with Azure CLI. Not for production.
  development: bool?

  // Ids of action groups that hear of alerts.
  actionGroups: string[]?

  retentionInDays: int?
}
