// The container on Azure Container Apps, in an environment that is there already. Identities, API
// and registration come from the main template (its "caller" may be any identity): this is the app
// alone.
//
//   az deployment group create -g GROUP -f deploy/container/containerapp.bicep -p image=… …
param location string = resourceGroup().location
param name string = 'relay'
@description('Image, by digest: registry.example/relay@sha256:…')
param image string
@description('Login server of the registry; empty for a public one.')
param registry string = ''
param environmentName string
// Roles beside the app role: Key Vault Secrets User on the secrets, Storage Blob Data Owner on the
// host's account, AcrPull on the registry, Monitoring Metrics Publisher on the component.
@description('A user-assigned identity of this group.')
param identityName string
param targetApp string
param targetRole string
param apimUrl string
@description('Addresses of the secrets with the keys, without version; the second may be missing.')
param keyUri string
param secondaryKeyUri string = ''
@description('Blob endpoint of the storage account for the host.')
param blobServiceUri string
@description('Connection string of an Application Insights component without local authentication.')
param telemetryAddress string = ''
param pollSchedule string = '0 */5 * * * *'

var keys = concat(
  [{ name: 'apim-key', uri: keyUri }],
  empty(secondaryKeyUri) ? [] : [{ name: 'apim-key-secondary', uri: secondaryKeyUri }]
)
var clientId = identity.properties.clientId

resource environment 'Microsoft.App/managedEnvironments@2025-07-01' existing = {
  name: environmentName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource app 'Microsoft.App/containerApps@2025-07-01' = {
  name: name
  location: location
  // Functions on Container Apps: the platform makes the scale rules of the triggers.
  kind: 'functionapp'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: toObject([identity.id], id => id, id => {})
  }
  properties: {
    environmentId: environment.id
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        targetPort: 80
        transport: 'auto'
        allowInsecure: false
      }
      registries: empty(registry)
        ? []
        : [
            {
              server: registry
              identity: identity.id
            }
          ]
      secrets: map(keys, key => {
        name: key.name
        keyVaultUrl: key.uri
        identity: identity.id
      })
    }
    template: {
      containers: [
        {
          name: 'relay'
          image: image
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          env: concat(
            [
              { name: 'AzureWebJobsStorage__blobServiceUri', value: blobServiceUri }
              { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
              { name: 'AzureWebJobsStorage__clientId', value: clientId }
              { name: 'TargetApp', value: targetApp }
              { name: 'TargetTenantID', value: tenant().tenantId }
              { name: 'TargetRole', value: targetRole }
              { name: 'FunctionIdentity', value: 'RunAs=App;AppId=${clientId}' }
              { name: 'ApimUrl', value: apimUrl }
              { name: 'ApimKey', secretRef: 'apim-key' }
              { name: 'PollSchedule', value: pollSchedule }
            ],
            empty(secondaryKeyUri)
              ? []
              : [{ name: 'ApimKeySecondary', secretRef: 'apim-key-secondary' }],
            empty(telemetryAddress)
              ? []
              : [
                  { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: telemetryAddress }
                  {
                    name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING'
                    value: 'ClientId=${clientId};Authorization=AAD'
                  }
                ]
          )
          probes: [
            {
              type: 'Readiness'
              httpGet: {
                path: '/api/health'
                port: 80
              }
              periodSeconds: 10
            }
          ]
        }
      ]
      // One at least: nobody wakes a timer.
      scale: {
        minReplicas: 1
        maxReplicas: 10
      }
    }
  }
}

output hostName string = app.properties.configuration.ingress.fqdn
