// The container on Azure Container Apps, in an environment that is there already. Identities, API and registration come from the main
// template (its "caller" may be any identity): this is the app alone.
//
//   az deployment group create -g GROUP -f deploy/container/containerapp.bicep -p image=… environmentName=… identityName=… …
param location string = resourceGroup().location
param name string = 'relay'
@description('Image, by digest: registry.example/relay@sha256:…')
param image string
@description('Login server of the registry; the identity needs AcrPull on it. Empty for a public one.')
param registry string = ''
param environmentName string
@description('A user-assigned identity of this group that holds the app role and may read the secret.')
param identityName string
param targetApp string
param targetRole string
param apimUrl string
@description('Address of the secret with the subscription key, without version.')
param keyUri string
@description('Blob endpoint of the storage account for the host.')
param blobServiceUri string
param pollSchedule string = '0 */5 * * * *'

resource environment 'Microsoft.App/managedEnvironments@2025-01-01' existing = {
  name: environmentName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource app 'Microsoft.App/containerApps@2025-01-01' = {
  name: name
  location: location
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
      secrets: [
        {
          name: 'apim-key'
          keyVaultUrl: keyUri
          identity: identity.id
        }
      ]
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
          env: [
            { name: 'AzureWebJobsStorage__blobServiceUri', value: blobServiceUri }
            { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
            { name: 'AzureWebJobsStorage__clientId', value: identity.properties.clientId }
            { name: 'TargetApp', value: targetApp }
            { name: 'TargetTenantID', value: tenant().tenantId }
            { name: 'TargetRole', value: targetRole }
            { name: 'FunctionIdentity', value: 'RunAs=App;AppId=${identity.properties.clientId}' }
            { name: 'ApimUrl', value: apimUrl }
            { name: 'ApimKey', secretRef: 'apim-key' }
            { name: 'PollSchedule', value: pollSchedule }
          ]
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
        rules: [
          {
            name: 'http'
            http: {
              metadata: {
                concurrentRequests: '50'
              }
            }
          }
        ]
      }
    }
  }
}

output hostName string = app.properties.configuration.ingress.fqdn
