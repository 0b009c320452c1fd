// The API's app registration and its service principal in Entra. A template can neither change nor
// remove a role or scope that is enabled: so they are the same whatever is chosen, and what is chosen
// is who gets them.
extension microsoftGraphV1

@description('Key of the registration; never changes.')
param uniqueName string
param displayName string
param roles string[]
@description('Lets developers fetch tokens with Azure CLI.')
param development bool

var scopeId = guid(tenant().tenantId, uniqueName, 'access_as_user')
// The application id of Azure CLI, the same in every tenant.
var azureCli = '04b07795-8ddb-461a-bbee-02f9e1bf7b46'

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: 'AzureADMyOrg'
  // With the tenant's id: tenants with the secure defaults refuse bare names, and api://<client id>
  // cannot be written here.
  identifierUris: [
    'api://${tenant().tenantId}/${uniqueName}'
  ]
  appRoles: [
    for role in roles: {
      // From the value: a role renamed under its old id would leave the old name in tokens.
      id: guid(tenant().tenantId, uniqueName, role)
      value: role
      displayName: role
      description: 'Callers with this role may use the operations that ask for ${role}.'
      // People hold a role only where somebody gives it to them; the template does in development.
      allowedMemberTypes: ['Application', 'User']
      isEnabled: true
    }
  ]
  api: {
    // The policy's metadata address is that of v2 tokens.
    requestedAccessTokenVersion: 2
    // Of no use to anybody but the applications below: others need an administrator's consent.
    oauth2PermissionScopes: [
      {
        id: scopeId
        value: 'access_as_user'
        type: 'Admin'
        isEnabled: true
        adminConsentDisplayName: 'Call the API as the signed-in developer'
        adminConsentDescription: 'Lets Azure CLI fetch a token for this API for the developer.'
      }
    ]
    preAuthorizedApplications: development
      ? [
          {
            appId: azureCli
            delegatedPermissionIds: [
              scopeId
            ]
          }
        ]
      : []
  }
}

resource principal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
  // Who holds no role gets no token at all.
  appRoleAssignmentRequired: true
}

output clientId string = application.appId
output applicationId string = application.id
output servicePrincipalId string = principal.id
