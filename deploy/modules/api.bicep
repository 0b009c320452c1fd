// The API in API Management: operations, named values, policies, product, subscription. Deployed
// into the group of the service, be it new or existing. The subscription's keys go from here
// straight into the vault: never through a parameter or an output of ours.
import { apiOperation } from '../types.bicep'

param serviceName string
@description('Name of API, product and subscription, and prefix of the named values.')
param name string
param path string
@description('Empty: the product answers by itself once all checks are passed.')
param backendUrl string
param operations apiOperation[]
param openIdConfigUrl string
param clientId string
param appIdUri string
@description('Traces requests into the service\'s own logger; an existing one keeps what it has.')
param logged bool
param vaultSubscription string
param vaultResourceGroup string
param vaultName string
param keyName string
param secondaryKeyName string

// The policies name {{client-id}}; here it is {{<name>-client-id}}.
var prefixed = '{{${name}-'
var apiPolicy = replace(loadTextContent('../policies/api.xml'), '{{', prefixed)
var writePolicy = replace(loadTextContent('../policies/operation-write.xml'), '{{', prefixed)
var values = {
  'openid-config-url': openIdConfigUrl
  'app-id-uri': appIdUri
}
var productPolicy = loadTextContent('../policies/product.xml')
var mockPolicy = loadTextContent('../policies/product-mock.xml')

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: serviceName
}

resource namedValues 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = [
  for item in items(values): {
    parent: service
    name: '${name}-${item.key}'
    properties: {
      displayName: '${name}-${item.key}'
      value: item.value
    }
  }
]

resource audience 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: service
  name: '${name}-client-id'
  properties: {
    displayName: '${name}-client-id'
    value: clientId
  }
}

resource api 'Microsoft.ApiManagement/service/apis@2024-05-01' = {
  parent: service
  name: name
  properties: {
    displayName: name
    path: path
    protocols: [
      'https'
    ]
    subscriptionRequired: true
    serviceUrl: empty(backendUrl) ? null : backendUrl
  }
}

resource apiOperations 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = [
  for item in operations: {
    parent: api
    name: item.name
    properties: {
      displayName: item.name
      method: item.method
      urlTemplate: item.urlTemplate
      // Each {name} of the path must be declared, or the service refuses the operation.
      templateParameters: map(skip(split(item.urlTemplate, '{'), 1), part => {
        name: replace(split(part, '}')[0], '*', '')
        type: 'string'
        required: true
      })
    }
  }
]

resource policy 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = {
  parent: api
  name: 'policy'
  properties: {
    format: 'xml'
    value: apiPolicy
  }
  // Named in the XML only, so never inferred. A policy that names a missing value is refused.
  dependsOn: [
    namedValues
    audience
  ]
}

resource writePolicies 'Microsoft.ApiManagement/service/apis/operations/policies@2024-05-01' = [
  for (item, i) in operations: if ((item.?access ?? 'read') == 'write') {
    parent: apiOperations[i]
    name: 'policy'
    properties: {
      format: 'xml'
      value: writePolicy
    }
    dependsOn: [
      policy
    ]
  }
]

resource diagnostics 'Microsoft.ApiManagement/service/apis/diagnostics@2024-05-01' = if (logged) {
  parent: api
  name: 'applicationinsights'
  properties: {
    loggerId: resourceId('Microsoft.ApiManagement/service/loggers', serviceName, 'telemetry')
    httpCorrelationProtocol: 'W3C'
    alwaysLog: 'allErrors'
    sampling: {
      samplingType: 'fixed'
      percentage: 100
    }
  }
}

resource product 'Microsoft.ApiManagement/service/products@2024-05-01' = {
  parent: service
  name: name
  properties: {
    displayName: name
    state: 'published'
    subscriptionRequired: true
    approvalRequired: false
    subscriptionsLimit: 10
  }
}

resource member 'Microsoft.ApiManagement/service/products/apis@2024-05-01' = {
  parent: product
  name: name
  dependsOn: [
    api
  ]
}

// Always written: a mock left behind would go on answering in the backend's place.
resource productRules 'Microsoft.ApiManagement/service/products/policies@2024-05-01' = {
  parent: product
  name: 'policy'
  properties: {
    format: 'xml'
    value: empty(backendUrl) ? mockPolicy : productPolicy
  }
}

resource subscription 'Microsoft.ApiManagement/service/subscriptions@2024-05-01' = {
  parent: service
  name: name
  properties: {
    displayName: name
    scope: product.id
    state: 'active'
    allowTracing: false
  }
}

module key 'secret.bicep' = {
  scope: resourceGroup(vaultSubscription, vaultResourceGroup)
  params: {
    vaultName: vaultName
    name: keyName
    key: subscription.listSecrets().primaryKey
  }
}

module secondaryKey 'secret.bicep' = {
  scope: resourceGroup(vaultSubscription, vaultResourceGroup)
  params: {
    vaultName: vaultName
    name: secondaryKeyName
    key: subscription.listSecrets().secondaryKey
  }
}

output gatewayUrl string = service.properties.gatewayUrl
