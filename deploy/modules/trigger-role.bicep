// Gives an identity one role on the existing resource behind a trigger or a binding.
param kind 'cosmosDb' | 'eventHubs' | 'serviceBus' | 'storage'
param name string
@description('GUID of the role definition.')
param role string
@description('Id of the identity\'s owner: names the assignment before the principal is known.')
param identityId string
param principalId string

var roleDefinitionId = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' existing = if (kind == 'storage') {
  name: name
}

resource onStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (kind == 'storage') {
  name: guid(account.id, identityId, role)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: roleDefinitionId
  }
}

resource bus 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = if (kind == 'serviceBus') {
  name: name
}

resource onServiceBus 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (kind == 'serviceBus') {
  name: guid(bus.id, identityId, role)
  scope: bus
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: roleDefinitionId
  }
}

resource hubs 'Microsoft.EventHub/namespaces@2026-01-01' existing = if (kind == 'eventHubs') {
  name: name
}

resource onEventHubs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (kind == 'eventHubs') {
  name: guid(hubs.id, identityId, role)
  scope: hubs
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: roleDefinitionId
  }
}

resource database 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' existing = if (kind == 'cosmosDb') {
  name: name
}

// Cosmos DB has role assignments of its own for its data.
resource onCosmosDb 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = if (kind == 'cosmosDb') {
  parent: database
  name: guid(database.id, identityId, role)
  properties: {
    principalId: principalId
    roleDefinitionId: resourceId('Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions', name, role)
    scope: database.id
  }
}
