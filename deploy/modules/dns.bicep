// Private DNS zones for the isolated variant: once for the deployment, links once for each region.
param tags { *: string }
param zones string[]

resource all 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zones: {
    name: zone
    location: 'global'
    tags: tags
  }
]
