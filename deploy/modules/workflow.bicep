// The Logic App of the article: the same call, made by a workflow with the same identity. No key in
// definition, parameters or run history: the first action reads it from the vault.
param location string
param tags { *: string }
param name string
param systemAssigned bool
@description('Id of the user-assigned identity, empty with a system-assigned one.')
param identityId string
param targetApp string
param apimUrl string
param keyUri string
param keyHeader string
@description('Id of the workspace for resource logs, empty for none.')
param logsTo string

// A system-assigned identity is meant where none is named.
var caller = systemAssigned ? {} : { inputs: { authentication: { identity: identityId } } }

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
    definition: union(loadJsonContent('../workflows/relay.json'), {
      actions: {
        Read_key: caller
        Call_API: caller
      }
    })
    parameters: {
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

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(logsTo)) {
  name: 'workflow'
  scope: workflow
  properties: {
    workspaceId: logsTo
    logs: [
      {
        category: 'WorkflowRuntime'
        enabled: true
      }
    ]
  }
}

output principalId string = systemAssigned ? workflow.identity.principalId : ''
output name string = workflow.name
