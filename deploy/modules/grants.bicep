// Gives app roles of the API to identities. Deployed late: a new identity takes a while to be known
// everywhere in the directory.
extension microsoftGraphV1

param uniqueName string
@description('Object id of the API\'s service principal (not of its registration).')
param servicePrincipalId string
@description('Object ids of the identities\' service principals.')
param principals string[]
@description('What each gets: index of the principal, role.')
param grants { index: int, role: string }[]

resource assignments 'Microsoft.Graph/appRoleAssignedTo@v1.0' = [
  for grant in grants: {
    appRoleId: guid(tenant().tenantId, uniqueName, grant.role)
    principalId: principals[grant.index]
    resourceId: servicePrincipalId
  }
]
