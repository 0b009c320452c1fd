// Stores one subscription key as a secret of the vault. Control plane: the deployer needs no right to read secrets.
param vaultName string
param name string
@secure()
param key string

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {
  parent: vault
  name: name
  properties: {
    value: key
  }
}
