package settings

import (
	"strings"
)

// defaultConnections are the settings that an extension reads where function.json names none, in lower case of the binding's type
// (Azure/azure-webjobs-sdk and Azure/azure-sdk-for-net, sdk/*/Microsoft.Azure.WebJobs.Extensions.*).
var defaultConnections = map[string]string{
	"queuetrigger": "AzureWebJobsStorage", "queue": "AzureWebJobsStorage",
	"blobtrigger": "AzureWebJobsStorage", "blob": "AzureWebJobsStorage",
	"table":             "AzureWebJobsStorage",
	"servicebustrigger": "AzureWebJobsServiceBus", "servicebus": "AzureWebJobsServiceBus",
	"cosmosdbtrigger": "CosmosDB", "cosmosdb": "CosmosDB",
}

// checkConnections makes sure that each binding's connection is set. The host starts without it, and the function never runs.
func (f *Function) checkConnections(env *Environment) {
	for _, b := range f.App.Bindings {
		name := strings.TrimSpace(b.Connection)
		if name == "" {
			name = defaultConnections[strings.ToLower(b.Type)]
		}
		if name == "" || env.connects(name) {
			continue
		}
		f.Faults = append(f.Faults, fault(f.App.Name, name, "add the app setting "+name+" with a connection string, or "+name+identityLine(b.Type)+" for a managed identity",
			"want the connection of the binding %s (%s), got no app setting %s, AzureWebJobs%s or %s__…", b.Name, b.Type, name, name, name))
	}
}

// identityLine is the end of a setting that connects with a managed identity instead of a connection string (learn.microsoft.com "Guide to
// connections in Azure Functions", identity-based connections).
func identityLine(kind string) string {
	kind = strings.ToLower(kind)
	switch {
	case strings.HasPrefix(kind, "servicebus"), strings.HasPrefix(kind, "eventhub"):
		return "__fullyQualifiedNamespace"
	case strings.HasPrefix(kind, "cosmosdb"):
		return "__accountEndpoint"
	}
	return "__accountName"
}

// connects tells whether the host finds a connection: the setting itself, with AzureWebJobs in front, as a connection string of the platform, or
// as a section of several settings (Azure/azure-webjobs-sdk src/Microsoft.Azure.WebJobs.Host/Extensions/IConfigurationExtensions.cs,
// GetWebJobsConnectionSection).
func (e *Environment) connects(name string) bool {
	for _, prefix := range []string{"", "AzureWebJobs", "ConnectionStrings__", "CUSTOMCONNSTR_", "SQLAZURECONNSTR_", "SQLCONNSTR_", "MYSQLCONNSTR_"} {
		if e.filled(prefix + name) {
			return true
		}
	}
	for _, v := range e.all {
		upper := strings.ToUpper(v.name)
		for _, prefix := range []string{"", "AZUREWEBJOBS"} {
			if strings.HasPrefix(upper, prefix+strings.ToUpper(name)+"__") && strings.TrimSpace(v.value) != "" {
				return true
			}
		}
	}
	return false
}
