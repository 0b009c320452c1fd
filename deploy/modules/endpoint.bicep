// A private endpoint of one service in one subnet, and its record.
param location string
param tags { *: string }
param name string
param subnetId string
param serviceId string
@description('Which part of the service: blob, Gateway, sites, vault.')
param part string
@description('Private DNS zone, empty where somebody else writes the record.')
param zoneId string

var label = toLower(part)

resource endpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: label
        properties: {
          privateLinkServiceId: serviceId
          groupIds: [
            part
          ]
        }
      }
    ]
  }

  resource records 'privateDnsZoneGroups' = if (!empty(zoneId)) {
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: label
          properties: {
            privateDnsZoneId: zoneId
          }
        }
      ]
    }
  }
}
