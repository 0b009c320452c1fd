// A private way from the app's network to a new API Management service. The tier must have private endpoints: neither Consumption nor
// Basic v2 has, and the environment check refuses them. The public way stays open: a service can only be closed once its endpoint stands.
param location string
param tags object
param serviceName string
param networkName string

var zoneName = 'privatelink.azure-api.net'

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: serviceName
}

resource network 'Microsoft.Network/virtualNetworks@2024-07-01' existing = {
  name: networkName
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = {
  name: zoneName
  location: 'global'
  tags: tags

  resource link 'virtualNetworkLinks' = {
    name: networkName
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
}

resource endpoint 'Microsoft.Network/privateEndpoints@2024-07-01' = {
  name: 'pe-gateway-${serviceName}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: resourceId('Microsoft.Network/virtualNetworks/subnets', networkName, 'endpoints')
    }
    privateLinkServiceConnections: [
      {
        name: 'gateway'
        properties: {
          privateLinkServiceId: service.id
          groupIds: [
            'Gateway'
          ]
        }
      }
    ]
  }

  resource records 'privateDnsZoneGroups' = {
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: 'gateway'
          properties: {
            privateDnsZoneId: zone.id
          }
        }
      ]
    }
  }
}
