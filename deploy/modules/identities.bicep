// User-assigned managed identities. They outlive the app: a role once granted stays granted.
@export()
@sealed()
type identity = {
  id: string
  clientId: string
  principalId: string
}

param location string
param tags { *: string }
param names string[]

resource identities 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = [
  for name in names: {
    name: name
    location: location
    tags: tags
  }
]

@description('In the order of the names.')
output all identity[] = [
  for (name, i) in names: {
    id: identities[i].id
    clientId: identities[i].properties.clientId
    principalId: identities[i].properties.principalId
  }
]
