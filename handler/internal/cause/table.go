package cause

// GrantRole is the command that gives an app role to an identity. It is ours, in deploy/scripts.
const GrantRole = "deploy/scripts/grant-role --principal {object} --api {resource} --role {role}"

// Table has an entry for each code, in the order in which the doctor checks. It is not to be
// changed.
//
// Sources: for Entra https://learn.microsoft.com/entra/identity-platform/reference-error-codes,
// for the identity endpoint
// https://learn.microsoft.com/azure/app-service/overview-managed-identity, for the gateway
// https://learn.microsoft.com/azure/api-management/api-management-error-handling-policies.
var Table = []Cause{
	// Files and settings.
	{
		Code:  AppFiles,
		Title: "host.json or a function.json is at fault",
		Means: []string{
			"A file cannot be read, or holds what the host would refuse or read otherwise than " +
				"it looks.",
		},
		Fix: "correct the file that is named",
	},
	{
		Code:  SettingsMissing,
		Title: "an app setting is missing or blank",
		Means: []string{
			"The setting was not entered, or under another name. Names may be written in any " +
				"case.",
			"The function has settings of its own and this one is not inherited: a function " +
				"that sets one of the two keys inherits neither.",
		},
		Fix: "az functionapp config appsettings set --name {app} --resource-group {group} " +
			"--settings <name>=<value>",
		FixHere: "set it in the environment, or under Values in local.settings.json",
	},
	{
		Code:  SettingsPlaceholder,
		Title: "a placeholder was left in a setting",
		Means: []string{
			"Text of a document, such as <client id> or {tenant}, was copied and not replaced.",
		},
		Fix: "put the real value in its place",
	},
	{
		Code:  SettingsReference,
		Title: "a Key Vault reference is not resolved",
		Means: []string{
			"The app's identity may not read the secret (role Key Vault Secrets User).",
			"The reference names a vault or secret that does not exist, or a user-assigned " +
				"identity is needed (keyVaultReferenceIdentity).",
			"The vault's firewall keeps the app out.",
		},
		Tells: "az webapp config appsettings list shows the value; the portal shows the state " +
			"of each reference under Environment variables",
		Fix: "give the app's identity the role Key Vault Secrets User on the vault, then " +
			"restart: az functionapp restart --name {app} --resource-group {group}",
		FixHere: "Key Vault references are for function apps: put the value itself into " +
			"the environment or into local.settings.json",
	},
	{
		Code:  SettingsValue,
		Title: "a setting has a value that cannot be used",
		Means: []string{
			"A number, duration, status or GUID is not in the form that the setting wants.",
		},
		Fix:      "write the value as the message says",
		Problems: []string{"settings"},
	},
	{
		Code:  SettingsStray,
		Title: "a function's own setting has no effect",
		Means: []string{
			"The part before the two underscores is misspelt, or the function was renamed.",
			"The part behind them is no setting of the relay, or there is only one underscore: " +
				"the function goes on with the shared value.",
		},
		Fix: "correct the name, or remove the setting",
	},
	{
		Code:  IdentityString,
		Title: "FunctionIdentity cannot be read",
		Means: []string{
			"A pair has no equals sign, a key is unknown, a value is missing, or AppId is no " +
				"GUID.",
			"A stray word stands between two pairs: it would swallow the next pair, and the " +
				"identity would silently be another one.",
			"The string asks for something that does not exist in a function app: an " +
				"interactive user, Visual Studio, a certificate in Key Vault.",
		},
		Fix: "write RunAs=App for the app's own identity, or RunAs=App;AppId=<client id> for a " +
			"user-assigned one",
	},
	{
		Code:  TargetAppForm,
		Title: "TargetApp is no App ID URI or client id",
		Means: []string{
			"It holds a blank, a quote, a query, or the name of a delegated scope such as " +
				"/user_impersonation.",
			"A scope was expected and is missing, or the other way round: /.default is added " +
				"by the program.",
		},
		Fix: "set TargetApp to the App ID URI of the API's app registration, for instance " +
			"api://<client id>: az ad app show --id <client id> --query identifierUris",
		AADSTS: []int{70011, 1002012},
	},
	{
		Code:  URLForm,
		Title: "ApimUrl is no URL that can be called",
		Means: []string{
			"There is no https:// in front, or there are stray characters.",
			"An expression in braces has no value in the function's trigger.",
		},
		Fix: "write it like https://<name>.azure-api.net/<api>",
	},
	{
		Code:  KeyForm,
		Title: "a subscription key holds what does not belong to it",
		Means: []string{
			"A line break, a blank or a quote came along when the key was copied.",
			"ApimKeyHeader is no name of a header.",
		},
		Fix: "enter the key anew: az rest --method post --url <subscription id of API " +
			"Management>/listSecrets?api-version=2024-05-01 shows it",
	},
	{
		Code:  TriggerConnection,
		Title: "the connection of a trigger or binding is not set",
		Means: []string{
			"function.json names a connection for which there is no app setting. The host " +
				"starts without it, and the function never runs.",
		},
		Fix: "add the app setting that is named",
	},
	{
		Code:  DeveloperInAzure,
		Title: "the app signs in as a developer, in Azure",
		Means: []string{
			"FunctionIdentity is RunAs=Developer, the setting for a laptop: nobody is signed " +
				"in to az in a deployed app.",
		},
		Fix: "az functionapp config appsettings set --name {app} --resource-group {group} " +
			"--settings FunctionIdentity=RunAs=App",
		FixHere: "remove IDENTITY_ENDPOINT and IDENTITY_HEADER from the environment, or " +
			"set FunctionIdentity=RunAs=App",
	},
	{
		Code:  HostIdentity,
		Title: "AZURE_CLIENT_ID is set",
		Means: []string{
			"The Functions host signs in to its own storage with the identity that " +
				"AZURE_CLIENT_ID names. With some other id there, storage answers that no such " +
				"identity is found. This program does not read it.",
		},
		Fix: "if it is not meant for the host, remove it: az functionapp config appsettings " +
			"delete --name {app} --resource-group {group} --setting-names AZURE_CLIENT_ID",
		FixHere: "if it is not meant for the host, remove AZURE_CLIENT_ID from the " +
			"environment",
	},

	// The identity endpoint.
	{
		Code:  IdentityEndpointMissing,
		Title: "there is no identity endpoint",
		Means: []string{
			"No managed identity is enabled for the app.",
			"It was enabled after the start, and the app was not restarted since.",
			"WEBSITE_DISABLE_MSI is true.",
			"The program runs outside Azure.",
		},
		Fix: "az functionapp identity assign --name {app} --resource-group {group}, then " +
			"restart the app",
		OwnHint: true,
		FixHere: "set FunctionIdentity=RunAs=Developer;DeveloperTool=AzureCli, or run the " +
			"sandbox: make run",
	},
	{
		Code:  IdentityEndpointHalf,
		Title: "there is half an identity endpoint",
		Means: []string{
			"IDENTITY_ENDPOINT or IDENTITY_HEADER was set by hand. On Azure the platform sets " +
				"both.",
		},
		Fix: "remove the app setting, then restart: az functionapp restart --name {app} " +
			"--resource-group {group}",
		OwnHint: true,
		FixHere: "set IDENTITY_ENDPOINT and IDENTITY_HEADER both, or neither",
	},
	{
		Code:  IdentityServiceFabric,
		Title: "a variable of Service Fabric stands beside the identity endpoint",
		Means: []string{
			"IDENTITY_SERVER_THUMBPRINT is set: the endpoint is taken for that of Service Fabric, " +
				"which a function app does not have.",
		},
		Fix: "remove the setting IDENTITY_SERVER_THUMBPRINT, then restart: " +
			"az functionapp restart --name {app} --resource-group {group}",
		FixHere: "remove IDENTITY_SERVER_THUMBPRINT from the environment",
	},
	{
		Code:  IdentityEndpointDown,
		Title: "the identity endpoint takes no connections",
		Means: []string{
			"The platform's token service is not up yet (cold start), or not any more.",
			"IDENTITY_ENDPOINT is that of a stand-in which does not run.",
		},
		Fix: "try again in a minute; if it stays so: az functionapp restart --name {app} " +
			"--resource-group {group}",
		FixHere: "see that the stand-in of IDENTITY_ENDPOINT runs, or set " +
			"FunctionIdentity=RunAs=Developer;DeveloperTool=AzureCli",
	},
	{
		Code:  IdentityEndpointHangs,
		Title: "the identity endpoint does not answer",
		Means: []string{
			"The platform's token service hangs, or its way to Entra is closed.",
		},
		Fix: "restart the app; if it is routed through a virtual network, open 443 to " +
			"login.microsoftonline.com: az functionapp restart --name {app} --resource-group " +
			"{group}",
		FixHere: "look at the stand-in of IDENTITY_ENDPOINT, or start it again",
	},
	{
		Code:  IdentityHeader,
		Title: "the identity endpoint does not accept IDENTITY_HEADER",
		Means: []string{
			"The variable was set by hand or kept from an earlier start.",
			"A fault of the platform that a restart cures.",
		},
		Fix: "az functionapp restart --name {app} --resource-group {group}; do not set " +
			"IDENTITY_HEADER yourself",
		FixHere: "set IDENTITY_HEADER to the value that the stand-in of IDENTITY_ENDPOINT " +
			"prints",
	},
	{
		Code:  IdentityNotAttached,
		Title: "the app does not have the identity",
		Means: []string{
			"AppId is not the client id of an identity that is attached to the app: it is an " +
				"object id, the API's id, or the identity is not attached.",
			"RunAs=App means the app's own (system-assigned) identity, and the app has only " +
				"user-assigned ones.",
		},
		Fix: "see which there are: az functionapp identity show --name {app} --resource-group " +
			"{group}; then set FunctionIdentity to RunAs=App;AppId=<clientId>, or attach it: " +
			"az functionapp identity assign --name {app} --resource-group {group} --identities " +
			"<resource id>",
		FixHere: "see which identities the stand-in of IDENTITY_ENDPOINT has, and set " +
			"FunctionIdentity to RunAs=App;AppId=<clientId>",
	},
	{
		Code:  ResourceRefused,
		Title: "no token for TargetApp, while other resources work",
		Means: []string{
			"TargetApp is misspelt, or the API has no service principal in this tenant.",
			"The API demands an assignment (\"Assignment required\") and the identity has no " +
				"role.",
		},
		Tells: "az ad sp show --id {resource} --query \"{name:displayName, " +
			"assignmentRequired:appRoleAssignmentRequired}\" finds the API or not; the sign-in " +
			"log of the identity's service principal in Entra has the code",
		Fix: "az ad sp show --id {resource} --query appRoleAssignmentRequired: not found: " +
			"correct TargetApp, or az ad sp create --id <client id>; true: " +
			GrantRole,
	},
	{
		Code:  IdentityPlatform,
		Title: "the platform hands out no token at all",
		Means: []string{
			"The token service has a fault.",
			"The app is routed through a virtual network that lets no traffic to Entra pass.",
		},
		Tells: "the correlation id in the message is for Azure's support; Resource Health of " +
			"the app knows of faults",
		Fix: "open 443 to login.microsoftonline.com and <region>.login.microsoft.com in the " +
			"network, or wait for the platform: az functionapp restart --name {app} " +
			"--resource-group {group}",
		FixHere: "look at the stand-in of IDENTITY_ENDPOINT, and at its way to Entra",
	},
	{
		Code:  IdentityThrottled,
		Title: "too many requests for tokens",
		Means: []string{
			"Something in the app asks for tokens without keeping them. This program keeps its " +
				"own for a day.",
		},
		Fix:    "wait a minute; look for other users of the identity in the same app",
		AADSTS: []int{50196, 90055},
		Passes: true,
	},
	{
		Code:  IdentityAnswer,
		Title: "the answer of the identity endpoint cannot be read",
		Means: []string{
			"A stand-in answers in another form: for instance expires_on as the API of 2017 " +
				"wrote it, or no JSON.",
		},
		Fix: "correct the stand-in; on Azure restart the app: az functionapp restart --name " +
			"{app} --resource-group {group}",
		FixHere: "correct the stand-in of IDENTITY_ENDPOINT",
	},
	{
		Code:  IdentityAnswerHTML,
		Title: "a web page came instead of a token",
		Means: []string{"A proxy answered in the endpoint's place."},
		Fix: "keep the endpoint from the proxy: " +
			"NO_PROXY=169.254.169.254,172.16.0.0/12,localhost,127.0.0.1",
	},
	{
		Code:    IdentityAnswerEmpty,
		Title:   "the answer holds no token",
		Means:   []string{"The endpoint said 200 and left access_token out."},
		Fix:     "restart the app: az functionapp restart --name {app} --resource-group {group}",
		FixHere: "correct the stand-in of IDENTITY_ENDPOINT",
	},
	{
		Code:     TokenUnavailable,
		Title:    "no token, for a reason that is not in this list",
		Means:    []string{"See the message."},
		Fix:      "see the message",
		OwnHint:  true,
		Problems: []string{"identity-refused", "identity-unavailable"},
	},

	// Entra, and the tools of developers.
	{
		Code:  ClientSecretWrong,
		Title: "the client secret is wrong",
		Means: []string{
			"AppKey holds the secret's id (a GUID) and not its value.",
			"It is the secret of another registration.",
		},
		Fix: "az ad app credential reset --id {client} --append, and put the password into " +
			"AppKey; better: a managed identity, RunAs=App",
		AADSTS: []int{7000215},
	},
	{
		Code:  ClientSecretExpired,
		Title: "the client secret has expired",
		Means: []string{"Secrets end after two years at most."},
		Fix: "az ad app credential reset --id {client} --append, and put the password into " +
			"AppKey; better: a managed identity, RunAs=App",
		AADSTS: []int{7000222},
	},
	{
		Code:   ClientNoPrincipal,
		Title:  "the app registration has no service principal in the tenant",
		Means:  []string{"The registration was made without one, or in another tenant."},
		Fix:    "az ad sp create --id {client}",
		AADSTS: []int{7000229},
	},
	{
		Code:   ClientDisabled,
		Title:  "the application is disabled",
		Means:  []string{"Somebody switched its service principal off."},
		Fix:    "az ad sp update --id {client} --set accountEnabled=true",
		AADSTS: []int{7000112},
	},
	{
		Code:  ClientUnknown,
		Title: "the tenant does not know the client id",
		Means: []string{
			"AppId or TenantId is wrong.",
			"The identity was deleted and made anew, or the subscription moved to another " +
				"directory: attach it again.",
		},
		Fix: "az ad sp show --id {client} --query \"{name:displayName, " +
			"tenant:appOwnerOrganizationId}\" finds it or not; then correct AppId or TenantId",
		AADSTS: []int{700016, 700038},
	},
	{
		Code:  ClientCertificate,
		Title: "the certificate is not accepted",
		Means: []string{
			"It is not registered with the app registration.",
			"The clock is wrong.",
		},
		Fix: "az ad app credential reset --id {client} --append --cert @<file.pem>; compare " +
			"the clock",
		AADSTS: []int{700027},
	},
	{
		Code:  CertificateMissing,
		Title: "the certificate is not there",
		Means: []string{
			"WEBSITE_LOAD_CERTIFICATES does not name its thumbprint, or the plan has no " +
				"certificates (Flex Consumption).",
		},
		Fix: "az functionapp config appsettings set --name {app} --resource-group {group} " +
			"--settings WEBSITE_LOAD_CERTIFICATES=<thumbprint>; better: a managed identity, " +
			"RunAs=App",
		FixHere: "certificates by their thumbprint are for function apps: use AppKey, or " +
			"RunAs=Developer;DeveloperTool=AzureCli",
	},
	{
		Code:  FederatedCredential,
		Title: "the federated credential does not fit",
		Means: []string{
			"The application has no federated credential that fits (AADSTS70021).",
			"Its issuer is another one (700211): want " +
				"https://login.microsoftonline.com/<tenant of the identity>/v2.0 for a managed identity.",
			"Its audience is another one (700212): want api://AzureADTokenExchange.",
			"Its subject is another one (700213): want the object id of the managed identity, not its " +
				"client id.",
			"The identity is of another cloud than the application (700222).",
			"The token is outside its time (700024): the clock is wrong, or the file is old.",
		},
		Tells: "handler doctor shows issuer, subject and audience of the assertion",
		Fix: "az ad app federated-credential list --id {client}: compare issuer, subject and audiences " +
			"with the message; az ad app federated-credential create --id {client} --parameters " +
			"<file.json> adds one",
		Link:   "https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity",
		AADSTS: []int{70021, 700024, 700211, 700212, 700213, 700222},
	},
	{
		Code:  WorkloadMissing,
		Title: "there is no workload identity here",
		Means: []string{
			"RunAs=Workload needs AZURE_CLIENT_ID, AZURE_TENANT_ID and " +
				"AZURE_FEDERATED_TOKEN_FILE, which a Kubernetes cluster with workload identity " +
				"sets.",
		},
		Fix: "in a function app set FunctionIdentity to RunAs=App",
	},
	{
		Code:  TenantUnknown,
		Title: "there is no such tenant",
		Means: []string{
			"TargetTenantID, or TenantId in FunctionIdentity, is misspelt.",
			"It is a tenant of another cloud.",
		},
		Fix:    "az account show --query tenantId; then correct TargetTenantID or TenantId",
		AADSTS: []int{90002, 900023, 50128},
	},
	{
		Code:  ResourceUnknown,
		Title: "the tenant does not know TargetApp",
		Means: []string{
			"TargetApp is misspelt.",
			"The API has no service principal in this tenant.",
		},
		Fix: "az ad sp show --id {resource} --query appId: not found: correct TargetApp, or az " +
			"ad sp create --id <client id of the API>",
		AADSTS: []int{500011},
	},
	{
		Code:  ResourceNotListed,
		Title: "the app registration does not list the API",
		Means: []string{"The registration's permissions do not name the API."},
		Fix: "az ad app permission add --id {client} --api {resource} --api-permissions <role " +
			"id>=Role",
		AADSTS: []int{650057},
	},
	{
		Code:  ConsentMissing,
		Title: "nobody has consented to the tool",
		Means: []string{
			"The Azure CLI is not among the API's authorized client applications, and the " +
				"person has not consented.",
			"An administrator has to consent.",
		},
		Fix: "az login --tenant {tenant} --scope {resource}/.default; or under Expose an API " +
			"add the client 04b07795-8ddb-461a-bbee-02f9e1bf7b46",
		AADSTS: []int{65001, 90094},
		SignIn: true,
	},
	{
		Code:  ToolNotAuthorized,
		Title: "the API's owner has to authorize the tool",
		Means: []string{"Tool and API are both Microsoft's own, or are treated as such."},
		Fix: "under Expose an API add the client 04b07795-8ddb-461a-bbee-02f9e1bf7b46 to the " +
			"authorized client applications",
		AADSTS: []int{65002},
	},
	{
		Code:  PersonNotAssigned,
		Title: "the person is not assigned to the API",
		Means: []string{"The API demands an assignment."},
		Fix: "assign the person under Enterprise applications, Users and groups; the app role " +
			"must allow users",
		AADSTS: []int{50105},
	},
	{
		Code:   AssignmentRequired,
		Title:  "the API demands an assignment that the identity has not",
		Means:  []string{"\"Assignment required\" is on and no app role was given."},
		Fix:    GrantRole,
		AADSTS: []int{501051},
	},
	{
		Code:  SignInBlocked,
		Title: "a rule of the tenant asks for more than the sign-in gave",
		Means: []string{
			"Another factor is wanted (multi-factor authentication).",
			"Conditional Access wants a compliant device or place.",
		},
		Fix:    "az login --tenant {tenant} --scope {resource}/.default, on a device that complies",
		AADSTS: []int{50076, 50078, 50079, 53003, 530032},
		SignIn: true,
	},
	{
		Code:   SignInExpired,
		Title:  "the developer's sign-in has ended",
		Means:  []string{"The refresh token is too old, or was revoked."},
		Fix:    "az login --tenant {tenant}",
		AADSTS: []int{700082, 70043, 50173},
		SignIn: true,
	},
	{
		Code:   AccountOfAnotherTenant,
		Title:  "the developer's account is not in the tenant",
		Means:  []string{"az is signed in with an account of another tenant, or a guest."},
		Fix:    "az login --tenant {tenant}",
		AADSTS: []int{50020, 50034, 90072, 500341},
		SignIn: true,
	},
	{
		Code:  AzMissing,
		Title: "the Azure CLI is not there",
		Means: []string{
			"It is not installed, or not on the PATH of this process.",
			"The program runs in Azure, where there is none.",
		},
		Fix: "install it (https://aka.ms/azure-cli); in Azure set FunctionIdentity to RunAs=App",
	},
	{
		Code:    AzSignedOut,
		Title:   "nobody is signed in to the Azure CLI",
		Means:   []string{"az login was not run, or with another user or folder."},
		Fix:     "az login --tenant {tenant}",
		OwnHint: true,
	},
	{
		Code:  AzSlow,
		Title: "the Azure CLI does not answer in time",
		Means: []string{"Its first start on a slow disk, or a proxy that lets it wait."},
		Fix: "see how long it takes: az account get-access-token --query expiresOn --resource " +
			"{resource}",
		OwnHint: true,
	},
	{
		Code:  AzFailed,
		Title: "the Azure CLI fails without a reason",
		Means: []string{"It died, or said something that is not known here."},
		Fix: "see what it says: az account get-access-token --query expiresOn --resource " +
			"{resource}",
		OwnHint: true,
	},
	{
		Code:  AzOutput,
		Title: "the Azure CLI prints something other than a token",
		Means: []string{"An extension's banner, or debug output."},
		Fix:   "az config set core.only_show_errors=true",
	},
	{
		Code:  AuthorityForm,
		Title: "the authority is no address of an authority, or says it is another one",
		Means: []string{
			"AZURE_AUTHORITY_HOST is not https.",
			"The metadata at AZURE_AUTHORITY_HOST names an issuer of another host.",
		},
		Fix: "remove AZURE_AUTHORITY_HOST, or set it to the authority of your cloud: az cloud " +
			"show --query endpoints.activeDirectory",
	},
	{
		Code:  AuthorityUnreachable,
		Title: "Entra cannot be reached",
		Means: []string{
			"The name does not resolve, or the network lets nothing pass.",
			"AZURE_AUTHORITY_HOST names a host that is not there.",
		},
		Fix: "open 443 to login.microsoftonline.com; az cloud show --query " +
			"endpoints.activeDirectory names the host of your cloud",
	},
	{
		Code:  AuthorityCertificate,
		Title: "the authority's certificate is not trusted",
		Means: []string{
			"A proxy opens TLS.",
			"The authority is a stand-in.",
		},
		Fix: "SSL_CERT_FILE=<file.pem> names the certificates to trust",
	},
	{
		Code:   EntraBusy,
		Title:  "Entra is busy or has a fault",
		Means:  []string{"Its service is overloaded or down for a moment."},
		Fix:    "wait a minute; https://status.azure.com knows of faults that last",
		Passes: true,
		AADSTS: []int{90006, 90033},
	},
	{
		Code:  EntraRefused,
		Title: "Entra refuses for a reason that is not in this list",
		Means: []string{"See the code."},
		Fix:   "look the code up: https://login.microsoftonline.com/error?code=<number>",
	},

	// The token that came.
	{
		Code:  TokenTenant,
		Title: "the token comes from another tenant",
		Means: []string{
			"TargetTenantID is not the tenant of the identity. A managed identity cannot " +
				"change its tenant.",
			"The policy trusts another tenant than the identity's.",
			"For a developer: az is signed in elsewhere.",
		},
		Tells: "the message names both tenants",
		Fix: "set TargetTenantID to the tenant of the identity; for a developer: az login " +
			"--tenant {tenant}",
	},
	{
		Code:  TokenCaller,
		Title: "the token was given to another application",
		Means: []string{
			"The identity endpoint, or the policy's client-application-ids, has another client " +
				"id than AppId.",
		},
		Fix: "set FunctionIdentity to RunAs=App;AppId=<the client id that is wanted>",
	},
	{
		Code:  TokenAudience,
		Title: "the token is for another audience",
		Means: []string{
			"TargetApp names another API.",
			"The policy lists the App ID URI and the token carries the client id, or the other " +
				"way round, or they differ by a slash or a letter's case.",
		},
		Tells: "with -policy FILE the rule shows both",
		Fix: "list both forms under <audiences>, App ID URI and client id, or set TargetApp to " +
			"the one that is listed",
	},
	{
		Code:  TokenTime,
		Title: "the token is outside its time, by somebody's clock",
		Means: []string{
			"It has ended and was kept too long.",
			"The gateway's clock and the issuer's differ, and the policy's clock-skew is 0 or " +
				"too small.",
		},
		Tells: "the check of the clock compares the gateway's Date with ours",
		Fix:   "set clock-skew=\"60\" in the policy; set the clock",
	},
	{
		Code:  RoleMissing,
		Title: "the token has no role",
		Means: []string{
			"The app role was not given to the identity.",
			"It was given to a group: roles of a group do not reach a service principal.",
			"The token is older than the grant: the platform keeps a token for about 24 hours, " +
				"and a restart does not help.",
		},
		Tells: "az rest --url " +
			"https://graph.microsoft.com/v1.0/servicePrincipals/{object}/appRoleAssignments " +
			"lists the grants with their time; compare it with the token's time of issue",
		Fix: GrantRole + "; a " +
			"token from before shows it after up to 24 hours",
	},
	{
		Code:  RoleOther,
		Title: "the token has other roles than the wanted one",
		Means: []string{
			"Another role was given.",
			"The value differs in case, or the role's display name was used instead of its value.",
		},
		Fix: GrantRole + "; " +
			"or correct TargetRole and the policy to the role's value: az ad sp show --id " +
			"{resource} --query appRoles[].value",
	},
	{
		Code:  RoleUser,
		Title: "the token is a person's and has no role",
		Means: []string{
			"A developer's token carries roles only where the app role allows users and the " +
				"person is assigned.",
		},
		Fix: "let the app role allow users (allowedMemberTypes: User) and assign the person, " +
			"or call as an application: az login --service-principal",
	},
	{
		Code:  IssuerVersion,
		Title: "token and policy are of different versions",
		Means: []string{
			"The API's registration asks for version 1 tokens (the default) and the policy " +
				"trusts the metadata of v2.0, or the other way round.",
		},
		Fix: "az rest --method patch --url " +
			"https://graph.microsoft.com/v1.0/applications(appId='<client id of the API>') " +
			"--body '{\"api\":{\"requestedAccessTokenVersion\":2}}', or change openid-config " +
			"to the token's version",
	},
	{
		Code:  TokenIssuer,
		Title: "the policy does not trust the token's issuer",
		Means: []string{
			"The metadata is of another tenant, of common, or of another cloud.",
		},
		Fix: "set openid-config to " +
			"https://login.microsoftonline.com/{tenant}/v2.0/.well-known/openid-configuration",
	},
	{
		Code:  TokenClaim,
		Title: "a claim that the policy asks for is missing",
		Means: []string{"The token does not carry it, or with another value."},
		Fix:   "let the registration emit the claim, or take it out of required-claims",
	},
	{
		Code:  TokenSignature,
		Title: "the token fits, and the gateway refuses it all the same",
		Means: []string{
			"The gateway does not know the signing key: keys were rolled over and its cache is " +
				"old, or its metadata is of another tenant.",
			"The deployed policy is not the one in the file.",
		},
		Tells: "wait five minutes and try again: the gateway fetches keys anew; compare the " +
			"deployed policy: az rest --url " +
			"<API>/policies/policy?api-version=2024-05-01&format=rawxml",
		Fix: "wait five minutes; then compare the deployed policy and its named values with " +
			"the file",
	},
	{
		Code:  TokenFormat,
		Title: "the policy finds no token where it looks",
		Means: []string{
			"It looks in another header than Authorization, or wants another scheme.",
		},
		Fix: "let the policy read header-name=\"Authorization\" with require-scheme=\"Bearer\"",
	},
	{
		Code:  TokenRefused,
		Title: "the gateway refuses the token and does not say why",
		Means: []string{
			"The role is missing or another one.",
			"Token and policy are of different versions, or the audience differs in form.",
			"The clocks differ.",
			"The gateway does not know the signing key.",
		},
		Tells: "the policy and its named values: handler doctor -policy FILE -named-values " +
			"FILE; or TargetRole",
		Fix:      "handler doctor -policy <api policy.xml> -named-values <values.json>",
		Refusals: []string{"token-refused"},
	},
	{
		Code:  PolicyNoToken,
		Title: "the policy checks no token",
		Means: []string{
			"The file has no validate-jwt and no validate-azure-ad-token: everybody with a key " +
				"may call.",
		},
		Fix: "add validate-jwt: deploy/policies/api.xml is an example",
	},
	{
		Code:  PolicyUnreadable,
		Title: "the policy cannot be read",
		Means: []string{
			"The file is no XML: an element or a quote is not closed, or it was cut off.",
			"It is something else than a policy: want <policies> or <fragment> as its root.",
			"A C# expression in it has no end.",
		},
		Tells: "the line that the finding names",
		Fix: "take the policy from the service again: az rest --url " +
			"<API>/policies/policy?api-version=2024-05-01&format=rawxml",
	},
	{
		Code:  PolicyUnknown,
		Title: "the policy alone does not tell whether the token passes",
		Means: []string{
			"An expression or a named value that was not given decides the rule.",
			"The check stands in a policy of another scope, or in a fragment.",
			"A header that the policy wants comes from a caller, or from a front end of the gateway.",
			"Something else than a policy statement for tokens decides, such as an authorizer that " +
				"the policy asks.",
		},
		Tells: "the line that the warning names",
		Fix: "give what is missing: -named-values FILE, -global-policy FILE, -product-policy FILE, " +
			"-operation-policy FILE, -fragments DIR; or make a call and read its trace in the portal",
	},
	{
		Code:  PolicyBeforeCheck,
		Title: "a statement may change the outcome of the policy's check",
		Means: []string{
			"It sets or removes Authorization before the check reads it.",
			"It answers before the check is reached.",
			"on-error replaces the gateway's own answers, so that they tell no cause.",
		},
		Tells: "the line that the warning names",
		Fix:   "if it is not meant so, move the statement behind the check",
	},
	{
		Code:  PolicyOrder,
		Title: "the policy's elements stand in an order that API Management does not take",
		Means: []string{"The children of validate-jwt have one order."},
		Fix: "put them in this order: openid-config, issuer-signing-keys, decryption-keys, " +
			"audiences, issuers, required-claims",
		Link: "https://learn.microsoft.com/azure/api-management/validate-jwt-policy",
	},
	{
		Code:  PolicyHeader,
		Title: "the policy wants another value of a header than the relay sends",
		Means: []string{"check-header lists other values, or a statement before it removes the header."},
		Fix:   "send the header with a value that the policy lists: setting ApimHeaders",
	},

	// The way to the gateway, and its answers.
	{
		Code:  ProxyAddress,
		Title: "the address of the proxy cannot be read",
		Means: []string{
			"HTTPS_PROXY or HTTP_PROXY is no URL: calls go past the proxy. A user name or password " +
				"in it must be written with escapes, % as %25.",
		},
		Fix: "write it like http://proxy.example:3128, or remove the variable",
	},
	{
		Code:  ProxyDown,
		Title: "the proxy cannot be reached",
		Means: []string{
			"HTTPS_PROXY or HTTP_PROXY names a proxy whose name does not resolve, or that takes no " +
				"connections.",
			"The gateway needs no proxy, and NO_PROXY does not name it.",
		},
		Fix: "correct HTTPS_PROXY, or name the host of ApimUrl in NO_PROXY",
	},
	{
		Code:  ProxyRefuses,
		Title: "the proxy lets no call to the gateway pass",
		Means: []string{
			"It wants a user name and password (407).",
			"Its rules do not allow the host (403), or it does not reach it (502 to 504).",
		},
		Fix: "allow the host of ApimUrl at the proxy, or name it in NO_PROXY; user name and " +
			"password stand in HTTPS_PROXY: http://user:password@proxy.example:3128",
	},
	{
		Code:  GatewayName,
		Title: "the gateway's name does not resolve",
		Means: []string{
			"ApimUrl is misspelt.",
			"The gateway is private, and the app has no virtual network, or the network no DNS " +
				"zone for it.",
		},
		Fix: "correct ApimUrl, or integrate the app: az functionapp vnet-integration add " +
			"--name {app} --resource-group {group} --vnet <network> --subnet <subnet>",
		FixHere: "correct ApimUrl; where the gateway is private, connect the VPN, or name " +
			"its address in the hosts file",
	},
	{
		Code:  GatewayConnection,
		Title: "the gateway takes no connections",
		Means: []string{
			"It is in a virtual network (internal mode) that the app is not part of.",
			"A firewall or the wrong port.",
		},
		Fix: "az functionapp vnet-integration add --name {app} --resource-group {group} --vnet " +
			"<network> --subnet <subnet>",
		FixHere: "see that the gateway runs and that ApimUrl has its port; where it is " +
			"private, connect the VPN",
	},
	{
		Code:  GatewayCertificate,
		Title: "the gateway's certificate is not trusted",
		Means: []string{
			"It is of a private authority, or has ended.",
			"A proxy opens TLS.",
		},
		Fix: "set ApimCertificateAuthority to the certificate of the gateway's authority (PEM), or " +
			"SSL_CERT_FILE=<file.pem>",
	},
	{
		Code:  GatewayCertificateName,
		Title: "the gateway's certificate is for another name",
		Means: []string{
			"ApimUrl names the gateway by a name that its certificate does not have: an alias, an " +
				"address, or another gateway.",
		},
		Fix: "call the name that the certificate is for, or add the custom domain to API " +
			"Management: az apim show --name <name> --resource-group <group> " +
			"--query hostnameConfigurations[].hostName",
	},
	{
		Code:  GatewayClientCertificate,
		Title: "the gateway wants a client certificate",
		Means: []string{
			"Its domain negotiates client certificates, or a policy reads one, and this app shows " +
				"none.",
			"The certificate of ApimClientCertificate is not one that it takes.",
		},
		Fix: "set ApimClientCertificate to a certificate that the API takes, or let its owner " +
			"switch the negotiation off",
		Link: "https://learn.microsoft.com/azure/api-management/" +
			"api-management-howto-mutual-certificates-for-clients",
	},
	{
		Code:  GatewayTLS,
		Title: "no TLS version or cipher in common with the gateway",
		Means: []string{
			"It speaks TLS 1.1 or older alone, or ciphers that are no longer safe.",
			"What listens there does not speak TLS.",
		},
		Fix: "let the gateway's owner enable TLS 1.2 in its protocol settings, and see that " +
			"ApimUrl has the port of https",
		Link: "https://learn.microsoft.com/azure/api-management/" +
			"api-management-howto-manage-protocols-ciphers",
	},
	{
		Code:  GatewaySilent,
		Title: "the gateway does not answer",
		Means: []string{
			"It is overloaded, or the backend hangs.",
			"What listens there is no HTTP server.",
		},
		Fix:      "try it by hand: curl -i <ApimUrl>",
		Problems: []string{"gateway-unreachable"},
	},
	{
		Code:  Portal,
		Title: "a web page answers: this is no gateway",
		Means: []string{
			"ApimUrl is the developer portal (<name>.developer.azure-api.net) or another site.",
		},
		Fix: "set ApimUrl to the gateway: https://<name>.azure-api.net/<api>",
	},
	{
		Code:  Redirect,
		Title: "the gateway sends callers elsewhere",
		Means: []string{
			"ApimUrl is not the address that is served: http instead of https, a moved host, a " +
				"login page. Redirects are never followed: the token would go along.",
		},
		Fix: "set ApimUrl to the address that the answer names, if that is the gateway",
	},
	{
		Code:  APIOpen,
		Title: "the API answers without key and token",
		Means: []string{
			"It requires no subscription and has no policy that checks a token: everybody may " +
				"call.",
		},
		Fix: "add validate-jwt to the API's policy: deploy/policies/api.xml is an example",
	},
	{
		Code:  OperationUnknown,
		Title: "the gateway knows no such operation",
		Means: []string{
			"The API's path suffix or version segment is missing or misspelt.",
			"The API has no operation for this path, or not for this method: a wrong method is " +
				"a 404 as well.",
		},
		Fix: "compare with the API's URL and operations: az apim api operation list " +
			"--resource-group <group> --service-name <name> --api-id <api> --query " +
			"\"[].{method:method, url:urlTemplate}\"",
		Statuses: []int{404},
	},
	{
		Code:  KeyMissing,
		Title: "the gateway does not see the key",
		Means: []string{
			"The API wants it in another header.",
			"There is none.",
		},
		Fix:      "set ApimKeyHeader to the header's name, and ApimKey",
		Refusals: []string{"key-missing"},
	},
	{
		Code:  KeyInvalid,
		Title: "the gateway does not accept the key",
		Means: []string{
			"It is misspelt, of another instance, or was regenerated.",
			"Its subscription is suspended, or is for another product or API.",
		},
		Tells: "az rest --url <subscription of API Management>?api-version=2024-05-01 shows " +
			"scope and state",
		Fix: "put the current key into ApimKey: az rest --method post --url <subscription of " +
			"API Management>/listSecrets?api-version=2024-05-01 --query primaryKey",
		Refusals: []string{"key-invalid"},
	},
	{
		Code:  KeyUnproven,
		Title: "whether the gateway accepts the key cannot be told",
		Means: []string{
			"An on-error of a policy writes every refusal alike, so that a wrong key looks like a " +
				"right one.",
			"The API asks for no key.",
			"The backend, or something before the gateway, answers every call alike.",
		},
		Tells: "the call's trace in the portal; the on-error section of the policies: " +
			"handler doctor -policy FILE -global-policy FILE",
		Fix: "let the API's owner keep the gateway's own 401 in on-error while you look, or compare " +
			"the key: az rest --method post --url <subscription of API " +
			"Management>/listSecrets?api-version=2024-05-01; set ApimKeyHeader=none where the API asks for none",
	},
	{
		Code:  TokenUnchecked,
		Title: "the API does not ask for a token",
		Means: []string{"It has no policy that checks one: everybody with a key may call."},
		Fix:   "add validate-jwt to the API's policy: deploy/policies/api.xml is an example",
	},
	{
		Code:  NotTheGateways,
		Title: "somebody else than the gateway refuses",
		Means: []string{
			"The backend does: the policy takes the token away, or the backend wants one of " +
				"its own.",
			"A front door or proxy does.",
		},
		Fix:      "look at the backend, at an on-error of the policy, and at what stands before the gateway",
		Refusals: []string{"not-the-gateways"},
	},
	{
		Code:  RefusalUnclear,
		Title: "the gateway or the backend refuses, and the answer does not tell which",
		Means: []string{
			"A policy of the gateway refuses with a bare \"Unauthorized\" or \"Forbidden\": an ip-filter does.",
			"The backend's framework does: NestJS writes the same answer.",
		},
		Tells:    "the policy: handler doctor -policy FILE; the backend's log; the call's trace in the portal",
		Fix:      "handler doctor -policy <api policy.xml> -named-values <values.json>, and look at the backend's log",
		Refusals: []string{"unclear"},
	},
	{
		Code:  Forbidden,
		Title: "a rule of the API keeps this caller out",
		Means: []string{
			"An ip-filter does not list the app's outbound addresses.",
			"A policy of the API's owner answers 403.",
		},
		Fix: "az functionapp show --name {app} --resource-group {group} --query " +
			"possibleOutboundIpAddresses lists the addresses to allow",
		Refusals: []string{"forbidden"},
		FixHere: "let the API's owner list your own outbound address in the ip-filter: " +
			"curl https://api.ipify.org shows it",
	},
	{
		Code:  QuotaSpent,
		Title: "the quota is spent",
		Means: []string{
			"The product's or subscription's quota policy counts calls or bytes.",
		},
		Fix:      "wait as long as Retry-After says, or ask the API's owner for more",
		Refusals: []string{"quota-spent"},
	},
	{
		Code:     RateLimited,
		Title:    "too many calls",
		Means:    []string{"A rate-limit policy, or the gateway's own capacity."},
		Fix:      "wait as long as Retry-After says; the program honours it",
		Statuses: []int{429},
	},
	{
		Code:  BackendNotFound,
		Title: "the backend knows no such thing",
		Means: []string{"Key and token were accepted; the 404 is the backend's."},
		Fix:   "correct the path in ApimUrl, or -value",
	},
	{
		Code:  GatewayError,
		Title: "the gateway cannot serve the call",
		Means: []string{
			"Its backend is unreachable or too slow.",
			"A policy fails.",
		},
		Tells:    "the activity id in the message finds the trace in API Management",
		Fix:      "give the activity id to the API's owner",
		Statuses: []int{500},
	},
	{
		Code:  FrontDoor,
		Title: "something before the gateway fails",
		Means: []string{
			"An Application Gateway, Front Door or proxy answers with a page of its own: its " +
				"backend pool is unhealthy.",
		},
		Fix:      "look at the health of its backend pool",
		Statuses: []int{502, 503, 504},
	},
	{
		Code:  BackendError,
		Title: "the backend fails",
		Means: []string{"It answers with a status from 500 on."},
		Fix:   "look at the backend",
	},
	{
		Code:     TooLarge,
		Title:    "the call is too large for the gateway",
		Means:    []string{"The body or the URL is above the tier's limit."},
		Fix:      "send less at once",
		Statuses: []int{413, 414},
	},

	// Answers of this program itself.
	{
		Code:     BadPath,
		Title:    "the caller's path cannot be part of the API's URL",
		Means:    []string{"It holds dots, double slashes, backslashes or broken escapes."},
		Fix:      "correct the path of the call",
		Problems: []string{"bad-path"},
	},
	{
		Code:     NoRoute,
		Title:    "no function has this route and method",
		Means:    []string{"The URL or the method of the call is another one than function.json has."},
		Fix:      "compare with functions/*/function.json",
		Problems: []string{"no-route"},
	},
	{
		Code:  NoRefusedOutput,
		Title: "messages that can never succeed are delivered again and again",
		Means: []string{
			"The function has no output binding named refused: a message that the API answers with 400 or 422 is " +
				"delivered five to ten times, and then lies in a poison or dead-letter queue without a reason.",
		},
		Fix: "add an output binding named refused to function.json: deploy/examples/queue is an example; or leave it, if that is meant",
	},
	{
		Code:  MethodNotAllowed,
		Title: "the call has the method TRACE or CONNECT",
		Means: []string{
			"TRACE must not carry credentials, which its answer would repeat, and CONNECT is for proxies.",
		},
		Fix:      "make the call with another method",
		Problems: []string{"method-not-allowed"},
	},
	{
		Code:     BadInvocation,
		Title:    "the host's envelope could not be read",
		Means:    []string{"The host, or what stands in its place, wrote something else than an envelope."},
		Fix:      "see the error in the log line",
		Problems: []string{"bad-invocation"},
	},
	{
		Code:     AlreadySent,
		Title:    "the host repeated a call whose outcome is not known",
		Means:    []string{"Its connection to the handler broke; the call was not sent twice."},
		Fix:      "look at the API whether the first call had an effect, then repeat it",
		Problems: []string{"already-sent"},
	},
	{
		Code:     BodyLost,
		Title:    "the host dropped the body of a wrapped call",
		Means:    []string{"The upload came in chunks, without a Content-Length."},
		Fix:      "set enableProxyingHttpRequest in host.json, or send a Content-Length",
		Problems: []string{"body-lost"},
	},
	{
		Code:     BodyDamaged,
		Title:    "the host changed the body of a wrapped call",
		Means:    []string{"It takes a body for text, which not every body is."},
		Fix:      "set enableProxyingHttpRequest in host.json",
		Problems: []string{"body-damaged"},
	},
	{
		Code:     BodyTooLarge,
		Title:    "the body is too large for a wrapped call",
		Means:    []string{"The host hands the whole body over in one piece of JSON."},
		Fix:      "set enableProxyingHttpRequest in host.json",
		Problems: []string{"too-large"},
	},
	{
		Code:     CannotCarry,
		Title:    "the answer does not fit into a wrapped call",
		Means:    []string{"The host's envelope has no form for a part of it."},
		Fix:      "set enableProxyingHttpRequest in host.json",
		Problems: []string{"cannot-carry"},
	},
	{
		Code:     UploadBroken,
		Title:    "the caller broke its upload off",
		Means:    []string{"Its connection ended, or its body was shorter than it had said."},
		Fix:      "look at the caller",
		Problems: []string{"upload-broken"},
	},
	{
		Code:     CallerLeft,
		Title:    "the caller did not wait",
		Means:    []string{"It closed its connection before the answer came."},
		Fix:      "let the caller wait longer, or look at what takes the backend so long",
		Problems: []string{"caller-left"},
	},
	{
		Code:     BudgetSpent,
		Title:    "the gateway gave no answer in time",
		Means:    []string{"The gateway or its backend is slow, or ApimTimeout is too short for it."},
		Fix:      "raise ApimTimeout, or look at what takes the backend so long",
		Problems: []string{"budget-spent"},
	},
	{
		Code:     AnswerCut,
		Title:    "the answer broke off on its way",
		Means:    []string{"The gateway's connection ended amid the body.", "The answer outlasted functionTimeout less a margin; the error says so."},
		Fix:      "look at the gateway and the backend; for long answers raise functionTimeout in host.json",
		Problems: []string{"answer-cut"},
	},
	{
		Code:     HandlerFailed,
		Title:    "this program failed",
		Means:    []string{"It has a fault."},
		Fix:      "see the line with the same invocation id and \"panic\"",
		Problems: []string{"internal"},
	},
}
