// The Logic App of the article: the same call, made by a workflow with the same identity. No key in definition, parameters or run history:
// the first action reads it from the vault.
param location string
param tags object
param name string
param systemAssigned bool
@description('Id of the user-assigned identity, empty with a system-assigned one.')
param identityId string
param targetApp string
param apimUrl string
param keyUri string
param keyHeader string

resource workflow 'Microsoft.Logic/workflows@2019-05-01' = {
  name: name
  location: location
  tags: tags
  identity: systemAssigned
    ? {
        type: 'SystemAssigned'
      }
    : {
        type: 'UserAssigned'
        userAssignedIdentities: toObject([identityId], id => id, id => {})
      }
  properties: {
    state: 'Enabled'
    definition: loadJsonContent('../workflows/relay.json')
    parameters: {
      identity: {
        value: systemAssigned ? 'SystemAssigned' : identityId
      }
      audience: {
        value: targetApp
      }
      url: {
        value: apimUrl
      }
      keyUri: {
        value: keyUri
      }
      keyHeader: {
        value: keyHeader
      }
      vaultAudience: {
        value: 'https://${substring(environment().suffixes.keyvaultDns, 1)}'
      }
    }
  }
}

output principalId string = systemAssigned ? workflow.identity.principalId : ''
output name string = workflow.name
