// Package identity is the stand-in for everything that hands out tokens: the identity endpoint of App Service and Azure
// Functions, an issuer shaped like Microsoft Entra ID (metadata, signing keys, token endpoint), and the answers behind a
// pretended Azure CLI. The zero Config is a complete tenant.
//
// Where the behaviour comes from. The endpoint's protocol is the "Connect to Azure services in app code, REST endpoint
// reference" page of App Service (learn.microsoft.com/azure/app-service/overview-managed-identity); its two error bodies are
// those that the live tests of AzureAD/microsoft-authentication-library-for-dotnet expect (class ManagedIdentityTests). Claims
// follow the "Access token claims reference" of the Microsoft identity platform. Error bodies of the token endpoint are shaped
// like captured ones (for instance Azure/sap-automation#418, Azure/azure-cli#14948, microsoft/Agents#202). That the platform
// keeps a managed identity's token for about 24 hours per resource is "Limitation of using managed identities for
// authorization" on learn.microsoft.com.
//
// What differs from the real thing:
//
//   - Keys are made at each start and signed by nobody. The claims iss and tid are spelled as Entra spells them
//     (sts.windows.net, login.microsoftonline.com), since validators compare them as text; the metadata's addresses are
//     those of the stand-in.
//   - A refusal by the identity endpoint for a missing or wrong X-IDENTITY-HEADER is 401 as in Azure, its body is ours: the
//     real bytes are not published. The same is true of 400 for a missing resource or an unknown api-version.
//   - Only api-version 2019-08-01 is answered. The old protocol (2017-09-01, header Secret) and the announced 2025-03-30
//     (token_sha256_to_refresh) are refused by name.
//   - The platform's cache is renewed when five minutes, or half of a shorter life, are left of the token; when Azure renews
//     is not published. Forget empties it, which Azure offers to nobody.
//   - A resource with "assignment required" that the identity is not assigned to is the same 500 as an unknown one, as
//     reported in Azure/azure-functions-host#9884; the AADSTS501051 behind it stands in History, where Azure keeps it from the
//     app as well.
//   - Client credentials and client assertions only: no browser, device code, password or refresh token. The developer signs in by
//     being configured.
//   - Claims without meaning for a caller (aio, rh, uti) are random text of the right look. No optional claims but idtyp.
//   - Groups, conditional access, continuous access evaluation and throttling are not played, except as faults.
//   - It listens on loopback only and keeps everything in memory.
package identity
