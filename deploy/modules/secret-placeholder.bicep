// Makes a secret whose value comes later, from the team that runs the API: roles and references
// need one that is there. One that exists is left alone: no deployment undoes what was stored.
param vaultName string
param name string

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
}

@onlyIfNotExists()
resource secret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = {
  parent: vault
  name: name
  properties: {
    value: 'not-stored-yet'
  }
}
