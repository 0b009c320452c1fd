// What every region has of its own: storage for the host, plan, Function App and all its settings.
import { alwaysReadyGroup, authenticationChoice } from '../types.bicep'
import { identity } from 'identities.bicep'

param location string
param tags { *: string }
param suffix string
@description('Tag by which azd finds the app it deploys to; exactly one app may carry it.')
param serviceTag { *: string }
param systemAssigned bool
@description('Ids of the user-assigned identities; empty with a system-assigned one.')
param identityIds string[]
@description('The same identities.')
param identities identity[]
@description('For each of them the registration that calls in its place, empty for none.')
param federatedApps string[]
@description('Functions that call with another identity than the first.')
param functionIdentities { function: string, index: int, role: string }[]
param telemetryAddress string
param targetApp string
param targetTenantId string
param targetRole string
param apimUrl string
param keyHeader string
@description('Addresses of the two secrets, without versions; empty where there is none.')
param keyUri string
param secondaryKeyUri string
@description('Functions whose timers this region must not run.')
param disabledTimers string[]
param settings { *: string }
param storageQueues bool
param storageTables bool
param instanceMemoryMB int
param maximumInstanceCount int
param httpConcurrency int?
param alwaysReady alwaysReadyGroup[]
param zoneRedundant bool
param authentication authenticationChoice?
@description('Id of the workspace for resource logs, empty for none.')
param logsTo string
param isolated bool
param closedApp bool
@description('Subnets: empty unless isolated.')
param appSubnetId string
param endpointSubnetId string
@description('Private DNS zones, empty where somebody else writes the records.')
param blobZoneId string
param siteZoneId string

var storageRoles = flatten([
  ['b7e6dc6d-f1e8-4753-8033-0f276bb0955b'] // Storage Blob Data Owner
  storageQueues ? ['974c5e8b-45b9-4653-ba55-5f855dd0fb88'] : [] // Storage Queue Data Contributor
  storageTables ? ['0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'] : [] // Storage Table Data Contributor
])
var callers = map(
  range(0, length(identities)),
  i => empty(federatedApps[i])
    ? 'RunAs=App;AppId=${identities[i].clientId}'
    : join(
        [
          'RunAs=App'
          'AppId=${federatedApps[i]}'
          'TenantId=${targetTenantId}'
          'FederatedIdentity=${identities[i].clientId}'
        ],
        ';'
      )
)

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: take('strelay${suffix}', 24)
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
  }
  properties: {
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    isLocalUserEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: isolated ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: isolated ? 'Deny' : 'Allow'
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'

    resource package 'containers' = {
      name: 'app-package'
      properties: {
        publicAccess: 'None'
      }
    }
  }
}

module hostRoles 'storage-role.bicep' = if (!systemAssigned) {
  params: {
    accountName: account.name
    roles: storageRoles
    identityId: systemAssigned ? '' : identityIds[0]
    principalId: systemAssigned ? '' : identities[0].principalId
  }
}

module blobEndpoint 'endpoint.bicep' = if (isolated) {
  params: {
    location: location
    tags: tags
    name: 'pe-blob-${suffix}'
    subnetId: endpointSubnetId
    serviceId: account.id
    part: 'blob'
    zoneId: blobZoneId
  }
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: 'plan-${suffix}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    tier: 'FlexConsumption'
    name: 'FC1'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: 'func-${suffix}'
  location: location
  tags: union(tags, serviceTag)
  kind: 'functionapp,linux'
  identity: systemAssigned
    ? {
        type: 'SystemAssigned'
      }
    : {
        type: 'UserAssigned'
        userAssignedIdentities: toObject(identityIds, id => id, id => {})
      }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: closedApp ? 'Disabled' : 'Enabled'
    keyVaultReferenceIdentity: systemAssigned ? 'SystemAssigned' : identityIds[0]
    virtualNetworkSubnetId: isolated ? appSubnetId : null
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${account.properties.primaryEndpoints.blob}${account::blobs::package.name}'
          authentication: {
            type: systemAssigned ? 'SystemAssignedIdentity' : 'UserAssignedIdentity'
            userAssignedIdentityResourceId: systemAssigned ? null : identityIds[0]
          }
        }
      }
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady
        triggers: httpConcurrency == null
          ? null
          : { http: { perInstanceConcurrency: httpConcurrency! } }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
    }
  }
  // The first start needs the package container and the locks, and a way to them; names that are
  // computed carry no order.
  dependsOn: [
    blobEndpoint
    hostRoles
  ]

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: {
      allow: false
    }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: {
      allow: false
    }
  }

  // Replaces the whole set: what is set by hand in the portal is gone after a deployment. Own
  // settings go into env/<name>.json.
  resource appSettings 'config' = {
    name: 'appsettings'
    properties: union(
      {
        AzureWebJobsStorage__blobServiceUri: account.properties.primaryEndpoints.blob
        AzureWebJobsStorage__credential: 'managedidentity'
        APPLICATIONINSIGHTS_CONNECTION_STRING: telemetryAddress
        APPLICATIONINSIGHTS_AUTHENTICATION_STRING: systemAssigned
          ? 'Authorization=AAD'
          : 'ClientId=${identities[0].clientId};Authorization=AAD'
        TargetApp: targetApp
        TargetTenantID: targetTenantId
        TargetRole: targetRole
        FunctionIdentity: systemAssigned ? 'RunAs=App' : callers[0]
        ApimUrl: apimUrl
        PollSchedule: '0 */5 * * * *'
      },
      empty(keyUri) ? {} : { ApimKey: '@Microsoft.KeyVault(SecretUri=${keyUri})' },
      empty(secondaryKeyUri)
        ? {}
        : { ApimKeySecondary: '@Microsoft.KeyVault(SecretUri=${secondaryKeyUri})' },
      empty(keyHeader) ? {} : { ApimKeyHeader: keyHeader },
      systemAssigned ? {} : { AzureWebJobsStorage__clientId: identities[0].clientId },
      storageQueues
        ? { AzureWebJobsStorage__queueServiceUri: account.properties.primaryEndpoints.queue }
        : {},
      storageTables
        ? { AzureWebJobsStorage__tableServiceUri: account.properties.primaryEndpoints.table }
        : {},
      // A hyphen cannot stand in a setting's name on Linux; the app reads "_" for it.
      toObject(
        functionIdentities,
        item => '${replace(item.function, '-', '_')}__FunctionIdentity',
        item => callers[item.index]
      ),
      toObject(
        functionIdentities,
        item => '${replace(item.function, '-', '_')}__TargetRole',
        item => item.role
      ),
      toObject(disabledTimers, name => 'AzureWebJobs.${name}.Disabled', name => 'true'),
      // Connections of triggers name the identity by its client id, which nobody knows before.
      toObject(
        items(settings),
        item => item.key,
        item => replace(item.value, '<client-id>', systemAssigned ? '' : identities[0].clientId)
      )
    )
  }
}

// A system-assigned identity exists only now: the first start may fail until the roles have spread.
module siteRoles 'storage-role.bicep' = if (systemAssigned) {
  params: {
    accountName: account.name
    roles: storageRoles
    identityId: site.id
    principalId: systemAssigned ? site.identity.principalId : ''
  }
}

module siteEndpoint 'endpoint.bicep' = if (closedApp) {
  params: {
    location: location
    tags: tags
    name: 'pe-site-${suffix}'
    subnetId: endpointSubnetId
    serviceId: site.id
    part: 'sites'
    zoneId: siteZoneId
  }
}

module authenticationSettings 'authentication.bicep' = if (authentication != null) {
  params: {
    siteName: site.name
    choice: authentication!
  }
}

resource siteLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(logsTo)) {
  name: 'app'
  scope: site
  properties: {
    workspaceId: logsTo
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: true
      }
    ]
  }
}

// Writing only: each instance of the host reads its locks every few seconds.
resource blobLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(logsTo)) {
  name: 'blobs'
  scope: account::blobs
  properties: {
    workspaceId: logsTo
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

output siteName string = site.name
output hostName string = site.properties.defaultHostName
@description('Principal of the system-assigned identity, else empty.')
output principalId string = systemAssigned ? site.identity.principalId : ''
