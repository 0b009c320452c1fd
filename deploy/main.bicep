// Everything: identity, app, API, registration, role. What an environment chooses stands in
// env/<name>.json (types.bicep says what may). Modules have no names of their own: the compiler's
// differ from deployment to deployment, so two environments in one group never meet.
targetScope = 'subscription'

import { configuration } from 'types.bicep'

@description('Name of the environment; part of the resource group\'s name.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('First region.')
@metadata({ azd: { type: 'location' } })
param location string

@description('The person or pipeline that deploys; used in development environments only.')
param deployerId string = ''

@description('Content of env/<name>.json. No default: only then azd takes it from its environment.')
param choices configuration

// What was chosen, with defaults
var suffix = uniqueString(subscription().id, environmentName, location)
var ownGroup = choices.?resourceGroup == null
var groupName = choices.?resourceGroup ?? 'rg-${environmentName}'
var groupSubscription = subscription().subscriptionId
var tags = union({ 'azd-env-name': environmentName }, choices.?tags ?? {})
var locations = choices.?locations ?? [location]
var systemAssigned = (choices.?identityKind ?? 'UserAssigned') == 'SystemAssigned'
var identityList = choices.?identities ?? [
  {
    name: 'relay'
    roles: [choices.?external.?role ?? 'Api.Read']
    functions: []
  }
]
var timers = choices.?timers ?? ['poll']
var timerMinutes = choices.?timerMinutes ?? { poll: 5 }
var callerOnly = choices.?external != null
var ownRegistration = !callerOnly && choices.?registration == null
var newService = !callerOnly && choices.?api.?existing == null
var newVault = choices.?vault == null
var isolated = choices.?network.?isolated ?? false
var closedApp = isolated && (choices.?network.?closedApp ?? false)
var newNetworks = isolated && choices.?network.?subnets == null
var development = choices.?development ?? false
var developerId = development ? deployerId : ''

// Names
var identityNames = systemAssigned ? [] : map(identityList, item => 'id-${item.name}-${suffix}')
var identityIds = map(
  identityNames,
  name => resourceId(
    groupSubscription,
    groupName,
    'Microsoft.ManagedIdentity/userAssignedIdentities',
    name
  )
)
var insightsName = 'appi-${suffix}'
var workspaceId = resourceId(
  groupSubscription,
  groupName,
  'Microsoft.OperationalInsights/workspaces',
  'log-${suffix}'
)
var logsTo = (choices.?resourceLogs ?? false) ? workspaceId : ''
var siteNames = map(range(0, length(locations)), i => 'func-${suffix}${i}')
var siteIds = map(
  siteNames,
  name => resourceId(groupSubscription, groupName, 'Microsoft.Web/sites', name)
)
var workflowName = 'logic-${suffix}'
var workflowId = resourceId(
  groupSubscription,
  groupName,
  'Microsoft.Logic/workflows',
  workflowName
)
var apiName = choices.?api.?name ?? 'relay'
var uniqueName = '${apiName}-${suffix}'
// An existing service may hold the API of another environment under the plain name.
var apiId = newService ? apiName : uniqueName
var apiPath = choices.?api.?path ?? apiName
var apimName = choices.?api.?existing.?name ?? 'apim-${suffix}'
var apimGroup = choices.?api.?existing.?resourceGroup ?? groupName
var apimSubscription = choices.?api.?existing.?subscription ?? groupSubscription
var apimSku = choices.?api.?sku ?? 'Consumption'
var vaultName = choices.?vault.?name ?? 'kv-${suffix}'
var vaultGroup = choices.?vault.?resourceGroup ?? groupName
var vaultSubscription = choices.?vault.?subscription ?? groupSubscription
var vaultId = resourceId(vaultSubscription, vaultGroup, 'Microsoft.KeyVault/vaults', vaultName)
var keyName = newVault ? 'apim-key' : 'apim-key-${suffix}'
var secondaryKeyName = '${keyName}-secondary'
var keyNames = callerOnly ? [keyName] : [keyName, secondaryKeyName]
var keyAddress = 'https://${vaultName}${environment().suffixes.keyvaultDns}/secrets/'
var keyHeader = choices.?external.?keyHeader ?? ''
var keyNeeded = keyHeader != 'none'
var withLogicApp = keyNeeded && (choices.?logicApp ?? true)
var systemWorkflow = withLogicApp && systemAssigned

// Networks. The first region's holds the endpoints of what all regions share.
var networkNames = map(range(0, length(locations)), i => 'vnet-${suffix}${i}')
var subnetType = 'Microsoft.Network/virtualNetworks/subnets'
var subnets = newNetworks
  ? map(networkNames, name => {
      app: resourceId(groupSubscription, groupName, subnetType, name, 'app')
      endpoints: resourceId(groupSubscription, groupName, subnetType, name, 'endpoints')
    })
  : choices.?network.?subnets ?? []
// What environment() does not know.
var domains = {
  #disable-next-line no-hardcoded-env-urls
  AzureCloud: { gateway: 'azure-api.net', site: 'azurewebsites.net' }
  AzureUSGovernment: { gateway: 'azure-api.us', site: 'azurewebsites.us' }
  AzureChinaCloud: { gateway: 'azure-api.cn', site: 'chinacloudsites.cn' }
}[environment().name]
// No zone more than needed: one without a record hides the services of others behind it.
var zones = union(
  {
    blob: 'privatelink.blob.${environment().suffixes.storage}'
    vault: 'privatelink.vaultcore${replace(environment().suffixes.keyvaultDns, '.vault.', '.')}'
  },
  newService ? { gateway: 'privatelink.${domains.gateway}' } : {},
  closedApp ? { site: 'privatelink.${domains.site}' } : {}
)
var zoneIds = newNetworks
  ? mapValues(
      zones,
      name => resourceId(groupSubscription, groupName, 'Microsoft.Network/privateDnsZones', name)
    )
  : choices.?network.?zones ?? {}

// Roles: those that the policies ask for.
var roles = ['Api.Read', 'Api.Write']
var ownAppIdUri = 'api://${tenant().tenantId}/${uniqueName}'
var targetApp = choices.?external.?targetApp ?? choices.?registration.?appIdUri ?? ownAppIdUri
var targetTenantId = choices.?external.?tenantId ?? tenant().tenantId
var issuer = '${environment().authentication.loginEndpoint}${targetTenantId}/v2.0'
var targetRole = choices.?external.?role ?? identityList[0].roles[0]
var grants = flatten(
  map(
    range(0, length(identityList)),
    i => map(identityList[i].roles, role => { index: i, role: role })
  )
)
var functionIdentities = systemAssigned
  ? []
  : flatten(
      map(
        range(1, length(identityList) - 1),
        i => map(identityList[i].?functions ?? [], name => {
          function: name
          index: i
          role: identityList[i].roles[0]
        })
      )
    )
var operations = choices.?api.?operations ?? [
  {
    name: 'get-root'
    method: 'GET'
    urlTemplate: '/'
    access: 'read'
  }
  {
    name: 'get-any'
    method: 'GET'
    urlTemplate: '/*'
    access: 'read'
  }
  {
    name: 'post-any'
    method: 'POST'
    urlTemplate: '/*'
    access: 'write'
  }
]

// A group that is there already keeps its tags: with azd's on it, azd would take it away unasked.
resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = if (ownGroup) {
  name: groupName
  location: location
  tags: tags
}

module identities 'modules/identities.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    names: identityNames
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    retentionInDays: choices.?retentionInDays ?? 30
  }
}

module vault 'modules/vault.bicep' = if (newVault) {
  scope: group
  params: {
    location: location
    tags: tags
    name: vaultName
    workspaceId: monitoring.outputs.workspaceId
    purgeProtection: choices.?purgeProtection ?? true
    isolated: isolated
  }
}

module placeholder 'modules/secret-placeholder.bicep' = if (callerOnly && keyNeeded) {
  scope: resourceGroup(vaultSubscription, vaultGroup)
  params: {
    vaultName: vaultName
    name: keyName
  }
  dependsOn: [
    vault
  ]
}

module dns 'modules/dns.bicep' = if (newNetworks) {
  scope: group
  params: {
    tags: tags
    zones: map(items(zones), zone => zone.value)
  }
}

// One after the other: each later one is joined to the first.
@batchSize(1)
module networks 'modules/network.bicep' = [
  for (region, i) in locations: if (newNetworks) {
    scope: group
    params: {
      location: region
      tags: tags
      name: networkNames[i]
      hub: networkNames[0]
      addressPrefix: choices.?network.?addressPrefixes[?i] ?? '10.80.${i}.0/24'
      zones: map(items(zones), zone => zone.value)
    }
    dependsOn: [
      dns
    ]
  }
]

module vaultEndpoint 'modules/endpoint.bicep' = if (isolated && (newNetworks || newVault)) {
  scope: group
  params: {
    location: locations[0]
    tags: tags
    name: 'pe-vault-${networkNames[0]}'
    subnetId: subnets[?0].?endpoints ?? ''
    serviceId: vaultId
    part: 'vault'
    zoneId: zoneIds.?vault ?? ''
  }
  dependsOn: [
    networks
    vault
  ]
}

module entra 'modules/entra.bicep' = if (ownRegistration) {
  scope: group
  params: {
    uniqueName: uniqueName
    displayName: '${apiName} (${environmentName})'
    roles: roles
    development: development
  }
}

module gateway 'modules/gateway.bicep' = if (newService) {
  scope: group
  params: {
    location: location
    tags: tags
    name: apimName
    sku: apimSku
    publisherEmail: choices.?api.?publisherEmail ?? deployer().?userPrincipalName ?? ''
    publisherName: choices.?api.?publisherName ?? environmentName
    insightsName: insightsName
    workspaceId: monitoring.outputs.workspaceId
  }
}

// The tier must have private endpoints: neither Consumption nor Basic v2 has, and the environment
// check refuses them. The public way stays open: a service can be closed once its endpoint stands.
module gatewayEndpoint 'modules/endpoint.bicep' = if (isolated && newService) {
  scope: group
  params: {
    location: locations[0]
    tags: tags
    name: 'pe-gateway-${apimName}'
    subnetId: subnets[?0].?endpoints ?? ''
    serviceId: resourceId(
      groupSubscription,
      groupName,
      'Microsoft.ApiManagement/service',
      apimName
    )
    part: 'Gateway'
    zoneId: zoneIds.?gateway ?? ''
  }
  dependsOn: [
    gateway
    networks
  ]
}

module api 'modules/api.bicep' = if (!callerOnly) {
  scope: resourceGroup(apimSubscription, apimGroup)
  params: {
    serviceName: apimName
    name: apiId
    path: apiPath
    backendUrl: choices.?api.?backendUrl ?? ''
    operations: operations
    openIdConfigUrl: '${issuer}/.well-known/openid-configuration'
    clientId: choices.?registration.?clientId ?? entra.?outputs.?clientId ?? ''
    appIdUri: targetApp
    logged: newService
    vaultSubscription: vaultSubscription
    vaultResourceGroup: vaultGroup
    vaultName: vaultName
    keyName: keyName
    secondaryKeyName: secondaryKeyName
  }
  dependsOn: [
    gateway
    vault
  ]
}

var gatewayUrl = choices.?api.?gatewayUrl ?? api.?outputs.?gatewayUrl ?? ''
var apimUrl = choices.?external.?url ?? '${gatewayUrl}/${apiPath}${choices.?api.?callPath ?? ''}'

// User-assigned: the rights exist before the app starts for the first time.
module telemetryRole 'modules/telemetry-role.bicep' = if (!systemAssigned) {
  scope: group
  params: {
    insightsName: insightsName
    identityId: systemAssigned ? '' : identityIds[0]
    principalId: systemAssigned ? '' : identities.outputs.all[0].principalId
  }
  dependsOn: [
    monitoring
  ]
}

module secretReader 'modules/secret-reader.bicep' = if (!systemAssigned && keyNeeded) {
  scope: resourceGroup(vaultSubscription, vaultGroup)
  params: {
    vaultName: vaultName
    names: keyNames
    identityId: systemAssigned ? '' : identityIds[0]
    principalId: systemAssigned ? '' : identities.outputs.all[0].principalId
  }
  dependsOn: [
    api
    placeholder
  ]
}

module triggerRoles 'modules/trigger-role.bicep' = [
  for item in choices.?triggerRoles ?? []: if (!systemAssigned) {
    scope: resourceGroup(item.?subscription ?? groupSubscription, item.resourceGroup)
    params: {
      kind: item.kind
      name: item.name
      role: item.role
      identityId: systemAssigned ? '' : identityIds[0]
      principalId: systemAssigned ? '' : identities.outputs.all[0].principalId
    }
  }
]

module regions 'modules/region.bicep' = [
  for (region, i) in locations: {
    scope: group
    params: {
      location: region
      tags: tags
      suffix: '${suffix}${i}'
      serviceTag: i == 0 ? { 'azd-service-name': 'relay' } : {}
      systemAssigned: systemAssigned
      identityIds: identityIds
      identities: identities.outputs.all
      federatedApps: map(identityList, item => item.?federatedApp ?? '')
      functionIdentities: functionIdentities
      telemetryAddress: monitoring.outputs.telemetryAddress
      targetApp: targetApp
      targetTenantId: targetTenantId
      targetRole: targetRole
      apimUrl: apimUrl
      keyHeader: keyHeader
      keyUri: keyNeeded ? '${keyAddress}${keyName}' : ''
      secondaryKeyUri: callerOnly ? '' : '${keyAddress}${secondaryKeyName}'
      disabledTimers: i == 0 ? [] : timers
      settings: choices.?settings ?? {}
      storageQueues: choices.?storageQueues ?? false
      storageTables: choices.?storageTables ?? false
      instanceMemoryMB: choices.?instanceMemoryMB ?? 2048
      maximumInstanceCount: choices.?maximumInstanceCount ?? 40
      httpConcurrency: choices.?httpConcurrency
      alwaysReady: choices.?alwaysReady ?? []
      zoneRedundant: choices.?zoneRedundant ?? false
      authentication: choices.?authentication
      logsTo: logsTo
      isolated: isolated
      closedApp: closedApp
      appSubnetId: subnets[?i].?app ?? ''
      endpointSubnetId: subnets[?i].?endpoints ?? ''
      blobZoneId: zoneIds.?blob ?? ''
      siteZoneId: zoneIds.?site ?? ''
    }
    // Names that are computed carry no order: without these lines the app would start before it may
    // read its keys, or has a way to them.
    dependsOn: [
      gatewayEndpoint
      networks
      secretReader
      telemetryRole
      triggerRoles
      vaultEndpoint
    ]
  }
]

// The roles of the API come late: the directory takes a while to know a new identity.
module identityGrants 'modules/grants.bicep' = if (ownRegistration && !systemAssigned) {
  scope: group
  params: {
    uniqueName: uniqueName
    servicePrincipalId: entra.?outputs.?servicePrincipalId ?? ''
    principals: map(identities.outputs.all, item => item.principalId)
    grants: grants
  }
  dependsOn: [
    regions
  ]
}

module workflow 'modules/workflow.bicep' = if (withLogicApp) {
  scope: group
  params: {
    location: location
    tags: tags
    name: workflowName
    systemAssigned: systemAssigned
    identityId: systemAssigned ? '' : identityIds[0]
    targetApp: targetApp
    apimUrl: apimUrl
    keyUri: '${keyAddress}${keyName}'
    keyHeader: empty(keyHeader) ? 'Ocp-Apim-Subscription-Key' : keyHeader
    logsTo: logsTo
  }
  dependsOn: [
    identities
    identityGrants
    monitoring
    secretReader
  ]
}

// System-assigned: principals exist only now.
module siteTelemetryRoles 'modules/telemetry-role.bicep' = [
  for (region, i) in locations: if (systemAssigned) {
    scope: group
    params: {
      insightsName: insightsName
      identityId: siteIds[i]
      principalId: regions[i].outputs.principalId
    }
  }
]

module siteSecretReaders 'modules/secret-reader.bicep' = [
  for (region, i) in locations: if (systemAssigned && keyNeeded) {
    scope: resourceGroup(vaultSubscription, vaultGroup)
    params: {
      vaultName: vaultName
      names: keyNames
      identityId: siteIds[i]
      principalId: regions[i].outputs.principalId
    }
    dependsOn: [
      placeholder
    ]
  }
]

var siteTriggerRoleList = systemAssigned
  ? flatten(
      map(
        range(0, length(locations)),
        i => map(choices.?triggerRoles ?? [], role => { region: i, role: role })
      )
    )
  : []

module siteTriggerRoles 'modules/trigger-role.bicep' = [
  for item in siteTriggerRoleList: {
    scope: resourceGroup(item.role.?subscription ?? groupSubscription, item.role.resourceGroup)
    params: {
      kind: item.role.kind
      name: item.role.name
      role: item.role.role
      identityId: siteIds[item.region]
      principalId: regions[item.region].outputs.principalId
    }
  }
]

module workflowSecretReader 'modules/secret-reader.bicep' = if (systemWorkflow) {
  scope: resourceGroup(vaultSubscription, vaultGroup)
  params: {
    vaultName: vaultName
    names: [keyName]
    identityId: workflowId
    principalId: workflow.?outputs.?principalId ?? ''
  }
  dependsOn: [
    placeholder
  ]
}

module siteGrants 'modules/grants.bicep' = [
  for (region, i) in locations: if (ownRegistration && systemAssigned) {
    scope: group
    params: {
      uniqueName: uniqueName
      servicePrincipalId: entra.?outputs.?servicePrincipalId ?? ''
      principals: [regions[i].outputs.principalId]
      grants: grants
    }
  }
]

module workflowGrants 'modules/grants.bicep' = if (ownRegistration && systemWorkflow) {
  scope: group
  params: {
    uniqueName: uniqueName
    servicePrincipalId: entra.?outputs.?servicePrincipalId ?? ''
    principals: [workflow.?outputs.?principalId ?? '']
    grants: grants
  }
  dependsOn: [
    siteGrants
  ]
}

module developerGrants 'modules/grants.bicep' = if (ownRegistration && !empty(developerId)) {
  scope: group
  params: {
    uniqueName: uniqueName
    servicePrincipalId: entra.?outputs.?servicePrincipalId ?? ''
    principals: [developerId]
    grants: map(roles, role => { index: 0, role: role })
  }
  dependsOn: [
    regions
  ]
}

module alerts 'modules/alerts.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    insightsId: monitoring.outputs.insightsId
    actionGroups: choices.?actionGroups ?? []
    timers: map(timers, name => { name: name, minutes: timerMinutes[?name] ?? 0 })
  }
}

output AZURE_RESOURCE_GROUP string = groupName
output RELAY_APPS string = join(siteNames, ' ')
output RELAY_HOSTS string[] = [for i in range(0, length(locations)): regions[i].outputs.hostName]
output RELAY_CALLER_ONLY bool = callerOnly
output RELAY_TARGET_APP string = targetApp
output RELAY_TARGET_TENANT_ID string = targetTenantId
output RELAY_TARGET_ROLE string = targetRole
output RELAY_UNIQUE_NAME string = ownRegistration ? uniqueName : ''
output RELAY_API_URL string = apimUrl
@description('For the team that runs the API, each word: principal=role=registration in its place.')
output RELAY_GRANTS string = join(
  map(systemAssigned ? [] : grants, grant => join(
    [
      identities.outputs.all[grant.index].principalId
      grant.role
      identityList[grant.index].?federatedApp ?? ''
    ],
    '='
  )),
  ' '
)
output RELAY_VAULT string = vaultName
output RELAY_VAULT_ID string = vaultId
output RELAY_KEY_NAME string = keyNeeded ? keyName : ''
output RELAY_APIM string = callerOnly ? '' : apimName
output RELAY_APIM_GROUP string = callerOnly ? '' : apimGroup
output RELAY_APIM_SUBSCRIPTION string = callerOnly ? '' : apimSubscription
output RELAY_APIM_SID string = callerOnly ? '' : apiId
