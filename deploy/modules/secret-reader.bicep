// Lets one identity read the named secrets and nothing else of the vault.
param vaultName string
param names string[]
@description('Id of the identity\'s owner: names the assignment before the principal is known.')
param identityId string
param principalId string

var secretsUser = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '4633458b-17de-408a-b874-0445c86b69e6'
)

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
}

resource secrets 'Microsoft.KeyVault/vaults/secrets@2025-05-01' existing = [
  for name in names: {
    parent: vault
    name: name
  }
]

resource readers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (name, i) in names: {
    name: guid(secrets[i].id, identityId, secretsUser)
    scope: secrets[i]
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: secretsUser
    }
  }
]
