// A new API Management service, its logger and the right to send telemetry.
param location string
param tags { *: string }
param name string
param sku string
param publisherEmail string
param publisherName string
param insightsName string
param workspaceId string

var metricsPublisher = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '3913510d-42f4-4e42-8a64-420c390055eb'
)
var classicTiers = ['Basic', 'Developer', 'Premium', 'Standard']
var legacyOff = {
  'Microsoft.WindowsAzure.ApiManagement.Gateway.Security.Protocols.Tls10': 'False'
  'Microsoft.WindowsAzure.ApiManagement.Gateway.Security.Protocols.Tls11': 'False'
  'Microsoft.WindowsAzure.ApiManagement.Gateway.Security.Backend.Protocols.Tls10': 'False'
  'Microsoft.WindowsAzure.ApiManagement.Gateway.Security.Backend.Protocols.Tls11': 'False'
  'Microsoft.WindowsAzure.ApiManagement.Gateway.Security.Ciphers.TripleDes168': 'False'
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource service 'Microsoft.ApiManagement/service@2024-05-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
    capacity: sku == 'Consumption' ? 0 : 1
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    publisherEmail: publisherEmail
    publisherName: publisherName
    // Only the classic tiers know these switches; the others have the old protocols off for good.
    customProperties: contains(classicTiers, sku) ? legacyOff : null
  }
}

resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, service.id, metricsPublisher)
  scope: insights
  properties: {
    principalId: service.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: metricsPublisher
  }
}

// Through a named value: written into the logger itself, each deployment would leave one behind.
resource address 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: service
  name: 'telemetry-address'
  properties: {
    displayName: 'telemetry-address'
    value: insights.properties.ConnectionString
  }
}

resource logger 'Microsoft.ApiManagement/service/loggers@2024-05-01' = {
  parent: service
  name: 'telemetry'
  properties: {
    loggerType: 'applicationInsights'
    resourceId: insights.id
    credentials: {
      connectionString: '{{telemetry-address}}'
      identityClientId: 'SystemAssigned'
    }
  }
  dependsOn: [
    address
    publisher
  ]
}

// The Consumption tier has no resource logs.
resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (sku != 'Consumption') {
  name: 'gateway'
  scope: service
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'GatewayLogs'
        enabled: true
      }
    ]
  }
}
