// The network of one region: a subnet for the app, one for private endpoints, links to the zones, a
// way to the first region's network, where the endpoints stand of what all regions share.
param location string
param tags { *: string }
param name string
@description('Name of the first region\'s network.')
param hub string
@description('A /24: the first quarter is for the app, the second for private endpoints.')
param addressPrefix string
param zones string[]

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressPrefix
      ]
    }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 26, 0)
          delegations: [
            {
              name: 'flex'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 26, 1)
        }
      }
    ]
  }

  resource toHub 'virtualNetworkPeerings' = if (name != hub) {
    name: hub
    properties: {
      allowVirtualNetworkAccess: true
      remoteVirtualNetwork: {
        id: hubNetwork.id
      }
    }
  }
}

// A way exists once both sides have a peering; made at once, each would find the other busy.
resource hubNetwork 'Microsoft.Network/virtualNetworks@2025-05-01' existing = {
  name: hub

  resource fromHub 'virtualNetworkPeerings' = if (name != hub) {
    name: name
    properties: {
      allowVirtualNetworkAccess: true
      remoteVirtualNetwork: {
        id: network.id
      }
    }
    dependsOn: [
      network::toHub
    ]
  }
}

resource dnsZones 'Microsoft.Network/privateDnsZones@2024-06-01' existing = [
  for zone in zones: {
    name: zone
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, i) in zones: {
    parent: dnsZones[i]
    name: name
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]
