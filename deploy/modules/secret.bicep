// Stores one subscription key as a secret of the vault. Control plane: the deployer needs no right
// to read secrets, and a closed vault takes it as well. Also by itself, with the key in a file:
//
//   az deployment group create -g GROUP -f secret.bicep -p vaultName=… name=… -p @FILE
param vaultName string
param name string
@secure()
param key string

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = {
  parent: vault
  name: name
  properties: {
    value: key
  }
}
