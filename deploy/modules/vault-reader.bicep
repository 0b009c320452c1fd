// Lets one identity read the secrets of a vault that holds the subscription keys and nothing else. Used where the keys come later, from
// the team that runs the API: a secret that is not there yet cannot be the scope of a role assignment.
param vaultName string
@description('Resource id of the identity\'s owner. It makes the name of the assignment, because it is known before the identity is made.')
param identityId string
param principalId string

var secretsUser = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '4633458b-17de-408a-b874-0445c86b69e6'
)

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource reader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identityId, secretsUser)
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: secretsUser
  }
}
