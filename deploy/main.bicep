// Everything: identity, app, API, registration, role. What an environment chooses stands in env/<name>.json (types.bicep says what may).
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

@description('Content of env/<name>.json. No default on purpose: azd takes a parameter from the environment only if it has none.')
param choices configuration

// What was chosen, with defaults
var suffix = uniqueString(subscription().id, environmentName, location)
var groupName = choices.?resourceGroup ?? 'rg-${environmentName}'
var tags = union({ 'azd-env-name': environmentName }, choices.?tags ?? {})
var locations = choices.?locations ?? [location]
var systemAssigned = (choices.?identityKind ?? 'UserAssigned') == 'SystemAssigned'
var identityList = choices.?identities ?? [
  {
    name: 'relay'
    roles: ['Api.Read']
    functions: []
  }
]
var timers = choices.?timers ?? ['poll']
var callerOnly = choices.?external != null
var ownRegistration = !callerOnly && choices.?registration == null
var newService = !callerOnly && choices.?api.?existing == null
var newVault = choices.?vault == null
var isolated = choices.?network.?isolated ?? false
var newNetworks = isolated && choices.?network.?subnets == null
var development = choices.?development ?? false

// Names
var identityNames = systemAssigned ? [] : map(identityList, item => 'id-${item.name}-${suffix}')
var identityIds = map(
  identityNames,
  name => resourceId(groupSubscription, groupName, 'Microsoft.ManagedIdentity/userAssignedIdentities', name)
)
var insightsName = 'appi-${suffix}'
var siteNames = map(range(0, length(locations)), i => 'func-${suffix}${i}')
var siteIds = map(siteNames, name => resourceId(groupSubscription, groupName, 'Microsoft.Web/sites', name))
var workflowName = 'logic-${suffix}'
var workflowId = resourceId(groupSubscription, groupName, 'Microsoft.Logic/workflows', workflowName)
var apiName = choices.?api.?name ?? 'relay'
var apimName = choices.?api.?existing.?name ?? 'apim-${suffix}'
var apimGroup = choices.?api.?existing.?resourceGroup ?? groupName
var apimSubscription = choices.?api.?existing.?subscription ?? subscription().subscriptionId
var apimSku = choices.?api.?sku ?? 'Consumption'
var vaultName = choices.?vault.?name ?? 'kv-${suffix}'
var vaultGroup = choices.?vault.?resourceGroup ?? groupName
var vaultSubscription = choices.?vault.?subscription ?? subscription().subscriptionId
var vaultId = resourceId(vaultSubscription, vaultGroup, 'Microsoft.KeyVault/vaults', vaultName)
var keyName = newVault ? 'apim-key' : '${environmentName}-apim-key'
var secondaryKeyName = '${keyName}-secondary'
var keyAddress = 'https://${vaultName}${environment().suffixes.keyvaultDns}/secrets/'
var keyHeader = choices.?external.?keyHeader ?? ''
var keyNeeded = keyHeader != 'none'
var withLogicApp = keyNeeded && (choices.?logicApp ?? true)
var blobZone = 'privatelink.blob.${environment().suffixes.storage}'
var vaultZone = 'privatelink.vaultcore${replace(environment().suffixes.keyvaultDns, '.vault.', '.')}'
var groupSubscription = subscription().subscriptionId
var blobZoneId = newNetworks
  ? resourceId(groupSubscription, groupName, 'Microsoft.Network/privateDnsZones', blobZone)
  : choices.?network.?zones.?blob ?? ''

// Roles
var uniqueName = '${apiName}-${suffix}'
var roles = union(['Api.Read', 'Api.Write'], flatten(map(identityList, item => item.roles)))
var targetApp = choices.?external.?targetApp ?? choices.?registration.?appIdUri ?? 'api://${tenant().tenantId}/${uniqueName}'
var targetTenantId = choices.?external.?tenantId ?? tenant().tenantId
var targetRole = choices.?external.?role ?? identityList[0].roles[0]
var grants = flatten(
  map(range(0, length(identityList)), i => map(identityList[i].roles, role => { index: i, role: role }))
)
var functionIdentities = systemAssigned
  ? []
  : flatten(
      map(
        range(1, max(0, length(identityList) - 1)),
        i => map(identityList[i].?functions ?? [], name => { function: name, index: i, role: identityList[i].roles[0] })
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

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: groupName
  location: location
  tags: tags
}

module identities 'modules/identities.bicep' = {
  name: 'identities'
  scope: group
  params: {
    location: location
    tags: tags
    names: identityNames
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    retentionInDays: choices.?retentionInDays ?? 30
  }
}

module vault 'modules/vault.bicep' = if (newVault) {
  name: 'vault'
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

module dns 'modules/dns.bicep' = if (newNetworks) {
  name: 'dns'
  scope: group
  params: {
    tags: tags
    zones: [
      blobZone
      vaultZone
    ]
  }
}

module networks 'modules/network.bicep' = [
  for (region, i) in locations: if (newNetworks) {
    name: 'network-${region}'
    scope: group
    params: {
      location: region
      tags: tags
      name: 'vnet-${suffix}${i}'
      addressPrefix: choices.?network.?addressPrefixes[?i] ?? '10.80.${i}.0/24'
      zones: [
        blobZone
        vaultZone
      ]
      vaultId: vaultId
      vaultZone: vaultZone
    }
    dependsOn: [
      dns
      vault
    ]
  }
]

module entra 'modules/entra.bicep' = if (ownRegistration) {
  name: 'entra'
  scope: group
  params: {
    uniqueName: uniqueName
    displayName: '${apiName} (${environmentName})'
    roles: roles
    development: development
  }
}

module gateway 'modules/gateway.bicep' = if (newService) {
  name: 'gateway'
  scope: group
  params: {
    location: location
    tags: tags
    name: apimName
    sku: apimSku
    publisherEmail: choices.?api.?publisherEmail ?? 'nobody@example.com'
    publisherName: choices.?api.?publisherName ?? environmentName
    insightsName: insightsName
    workspaceId: monitoring.outputs.workspaceId
  }
}

module gatewayEndpoint 'modules/gateway-endpoint.bicep' = if (newNetworks && newService) {
  name: 'gateway-endpoint'
  scope: group
  params: {
    location: location
    tags: tags
    serviceName: apimName
    networkName: 'vnet-${suffix}0'
  }
  dependsOn: [
    gateway
    networks
  ]
}

module api 'modules/api.bicep' = if (!callerOnly) {
  name: 'api-${suffix}'
  scope: resourceGroup(apimSubscription, apimGroup)
  params: {
    serviceName: apimName
    name: apiName
    path: choices.?api.?path ?? apiName
    backendUrl: choices.?api.?backendUrl ?? ''
    operations: operations
    openIdConfigUrl: '${environment().authentication.loginEndpoint}${targetTenantId}/v2.0/.well-known/openid-configuration'
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

var apimUrl = choices.?external.?url ?? '${api.?outputs.?gatewayUrl ?? ''}/${choices.?api.?path ?? apiName}${choices.?api.?callPath ?? ''}'

// User-assigned: the rights exist before the app starts for the first time.
module telemetryRole 'modules/telemetry-role.bicep' = if (!systemAssigned) {
  name: 'telemetry-role'
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

module secretReader 'modules/secret-reader.bicep' = if (!systemAssigned && (!callerOnly || !newVault) && keyNeeded) {
  name: 'secret-reader-${suffix}'
  scope: resourceGroup(vaultSubscription, vaultGroup)
  params: {
    vaultName: vaultName
    names: callerOnly ? [keyName] : [keyName, secondaryKeyName]
    identityId: systemAssigned ? '' : identityIds[0]
    principalId: systemAssigned ? '' : identities.outputs.all[0].principalId
  }
  dependsOn: [
    api
  ]
}

module vaultReader 'modules/vault-reader.bicep' = if (!systemAssigned && callerOnly && newVault && keyNeeded) {
  name: 'vault-reader'
  scope: group
  params: {
    vaultName: vaultName
    identityId: systemAssigned ? '' : identityIds[0]
    principalId: systemAssigned ? '' : identities.outputs.all[0].principalId
  }
  dependsOn: [
    vault
  ]
}

module triggerRoles 'modules/trigger-role.bicep' = [
  for (item, i) in choices.?triggerRoles ?? []: if (!systemAssigned) {
    name: 'trigger-role-${i}-${suffix}'
    scope: resourceGroup(item.?subscription ?? subscription().subscriptionId, item.resourceGroup)
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
    name: 'region-${region}'
    scope: group
    params: {
      location: region
      tags: tags
      suffix: '${suffix}${i}'
      serviceTag: i == 0 ? { 'azd-service-name': 'relay' } : {}
      systemAssigned: systemAssigned
      identityIds: identityIds
      identities: identities.outputs.all
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
      alwaysReady: choices.?alwaysReady ?? []
      isolated: isolated
      appSubnetId: newNetworks
        ? resourceId(groupSubscription, groupName, 'Microsoft.Network/virtualNetworks/subnets', 'vnet-${suffix}${i}', 'app')
        : choices.?network.?subnets[?i].?app ?? ''
      endpointSubnetId: newNetworks
        ? resourceId(groupSubscription, groupName, 'Microsoft.Network/virtualNetworks/subnets', 'vnet-${suffix}${i}', 'endpoints')
        : choices.?network.?subnets[?i].?endpoints ?? ''
      blobZoneId: blobZoneId
    }
    // Names that are computed carry no order: without these lines the app would start before it may read its keys.
    dependsOn: [
      gatewayEndpoint
      networks
      secretReader
      telemetryRole
      triggerRoles
      vaultReader
    ]
  }
]

module workflow 'modules/workflow.bicep' = if (withLogicApp) {
  name: 'workflow'
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
  }
  dependsOn: [
    identities
    secretReader
    vaultReader
  ]
}

// System-assigned: principals exist only now.
module siteTelemetryRoles 'modules/telemetry-role.bicep' = [
  for (region, i) in locations: if (systemAssigned) {
    name: 'telemetry-role-${region}'
    scope: group
    params: {
      insightsName: insightsName
      identityId: siteIds[i]
      principalId: regions[i].outputs.principalId
    }
  }
]

module siteSecretReaders 'modules/secret-reader.bicep' = [
  for (region, i) in locations: if (systemAssigned && (!callerOnly || !newVault) && keyNeeded) {
    name: 'secret-reader-${region}-${suffix}'
    scope: resourceGroup(vaultSubscription, vaultGroup)
    params: {
      vaultName: vaultName
      names: callerOnly ? [keyName] : [keyName, secondaryKeyName]
      identityId: siteIds[i]
      principalId: regions[i].outputs.principalId
    }
    dependsOn: [
      api
    ]
  }
]

module siteVaultReaders 'modules/vault-reader.bicep' = [
  for (region, i) in locations: if (systemAssigned && callerOnly && newVault && keyNeeded) {
    name: 'vault-reader-${region}'
    scope: group
    params: {
      vaultName: vaultName
      identityId: siteIds[i]
      principalId: regions[i].outputs.principalId
    }
    dependsOn: [
      vault
    ]
  }
]

module siteTriggerRoles 'modules/trigger-role.bicep' = [
  for item in (systemAssigned ? flatten(map(range(0, length(locations)), i => map(choices.?triggerRoles ?? [], role => { region: i, role: role }))) : []): {
    name: 'trigger-role-${item.region}-${uniqueString(item.role.name, item.role.role)}'
    scope: resourceGroup(item.role.?subscription ?? subscription().subscriptionId, item.role.resourceGroup)
    params: {
      kind: item.role.kind
      name: item.role.name
      role: item.role.role
      identityId: siteIds[item.region]
      principalId: regions[item.region].outputs.principalId
    }
  }
]

module workflowSecretReader 'modules/secret-reader.bicep' = if (withLogicApp && systemAssigned && (!callerOnly || !newVault)) {
  name: 'secret-reader-workflow-${suffix}'
  scope: resourceGroup(vaultSubscription, vaultGroup)
  params: {
    vaultName: vaultName
    names: [keyName]
    identityId: workflowId
    principalId: workflow.?outputs.?principalId ?? ''
  }
  dependsOn: [
    api
  ]
}

module workflowVaultReader 'modules/vault-reader.bicep' = if (withLogicApp && systemAssigned && callerOnly && newVault) {
  name: 'vault-reader-workflow'
  scope: group
  params: {
    vaultName: vaultName
    identityId: workflowId
    principalId: workflow.?outputs.?principalId ?? ''
  }
  dependsOn: [
    vault
  ]
}

// The app role comes last of all.
module identityGrants 'modules/grants.bicep' = if (ownRegistration && !systemAssigned) {
  name: 'grants'
  scope: group
  params: {
    uniqueName: uniqueName
    servicePrincipalId: entra.?outputs.?servicePrincipalId ?? ''
    principals: map(identities.outputs.all, item => item.principalId)
    grants: grants
  }
  dependsOn: [
    regions
    workflow
  ]
}

module siteGrants 'modules/grants.bicep' = [
  for (region, i) in locations: if (ownRegistration && systemAssigned) {
    name: 'grants-${region}'
    scope: group
    params: {
      uniqueName: uniqueName
      servicePrincipalId: entra.?outputs.?servicePrincipalId ?? ''
      principals: [regions[i].outputs.principalId]
      grants: map(identityList[0].roles, role => { index: 0, role: role })
    }
  }
]

module workflowGrants 'modules/grants.bicep' = if (ownRegistration && systemAssigned && withLogicApp) {
  name: 'grants-workflow'
  scope: group
  params: {
    uniqueName: uniqueName
    servicePrincipalId: entra.?outputs.?servicePrincipalId ?? ''
    principals: [workflow.?outputs.?principalId ?? '']
    grants: map(identityList[0].roles, role => { index: 0, role: role })
  }
  dependsOn: [
    siteGrants
  ]
}

module developerGrants 'modules/grants.bicep' = if (ownRegistration && development && !empty(deployerId)) {
  name: 'grants-developer'
  scope: group
  params: {
    uniqueName: uniqueName
    servicePrincipalId: entra.?outputs.?servicePrincipalId ?? ''
    principals: [deployerId]
    grants: map(roles, role => { index: 0, role: role })
  }
  dependsOn: [
    regions
  ]
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    insightsId: monitoring.outputs.insightsId
    actionGroups: choices.?actionGroups ?? []
    timers: timers
  }
}

output AZURE_RESOURCE_GROUP string = groupName
output RELAY_APPS string = join(siteNames, ' ')
output RELAY_HOSTS array = [for i in range(0, length(locations)): regions[i].outputs.hostName]
output RELAY_CALLER_ONLY bool = callerOnly
output RELAY_TARGET_APP string = targetApp
output RELAY_TARGET_TENANT_ID string = targetTenantId
output RELAY_TARGET_ROLE string = targetRole
output RELAY_UNIQUE_NAME string = ownRegistration ? uniqueName : ''
output RELAY_API_URL string = apimUrl
output RELAY_IDENTITIES array = identities.outputs.all
output RELAY_VAULT string = vaultName
output RELAY_KEY_NAME string = keyNeeded ? keyName : ''
output RELAY_APIM string = callerOnly ? '' : apimName
output RELAY_APIM_GROUP string = callerOnly ? '' : apimGroup
output RELAY_APIM_SUBSCRIPTION string = callerOnly ? '' : apimSubscription
output RELAY_APIM_SID string = callerOnly ? '' : apiName
