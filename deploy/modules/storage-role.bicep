// Gives one identity the host's roles on the storage account of a region.
param accountName string
@description('GUIDs of role definitions.')
param roles string[]
@description('Id of the identity\'s owner: names the assignment before the principal is known.')
param identityId string
param principalId string

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: accountName
}

resource assignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in roles: {
    name: guid(account.id, identityId, role)
    scope: account
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]
