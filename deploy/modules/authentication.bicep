// App Service Authentication: the platform asks for a token of Entra before a call reaches the app.
import { authenticationChoice } from '../types.bicep'

param siteName string
param choice authenticationChoice

resource site 'Microsoft.Web/sites@2025-03-01' existing = {
  name: siteName
}

resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: site
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
    }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
      // Health is for probes; the doctor asks for the host's key instead.
      excludedPaths: [
        '/api/health'
        '/api/doctor'
      ]
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: choice.clientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: choice.?audiences ?? [choice.clientId]
          defaultAuthorizationPolicy: {
            allowedApplications: choice.?callers
          }
        }
      }
    }
  }
}
