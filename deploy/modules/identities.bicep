// User-assigned managed identities. They outlive the app, so that a role once granted stays granted.
param location string
param tags object
param names string[]

resource identities 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = [
  for name in names: {
    name: name
    location: location
    tags: tags
  }
]

@description('In the order of the names: id, clientId and principalId.')
output all array = [
  for (name, i) in names: {
    id: identities[i].id
    clientId: identities[i].properties.clientId
    principalId: identities[i].properties.principalId
  }
]
