package settings

import (
	"fmt"
	"slices"
	"strings"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/cause"
)

// connectionKind says where bindings whose type begins with a word hold their connections.
type connectionKind struct {
	begins string // of the binding's type, in lower case
	// properties name the setting, the first that is filled in; old ones belong to extensions that the
	// bundle may no longer hold.
	properties []string
	absent     string // the setting where none of them is filled in; "" means that none is needed
	identity   string // the end of the setting's name where a managed identity connects; "" means never
	// others name further connections of the binding, which default to its own.
	others []string
	// since is the first extension bundle that reads the first property alone; 0 means that all of them
	// are read.
	since int
}

// connectionKinds is in the order in which it is searched.
//
// Sources: Azure/azure-sdk-for-net sdk/*/Microsoft.Azure.WebJobs.Extensions.*,
// Azure/azure-functions-sql-extension, Azure/azure-functions-signalrservice-extension,
// Azure/azure-functions-rabbitmq-extension, Azure/azure-functions-kafka-extension; the ends of names
// from learn.microsoft.com, "Guide to connections in Azure Functions", identity-based connections.
var connectionKinds = []connectionKind{
	{begins: "queue", properties: []string{"connection"}, absent: "AzureWebJobsStorage", identity: "accountName"},
	{begins: "blob", properties: []string{"connection"}, absent: "AzureWebJobsStorage", identity: "accountName"},
	{begins: "table", properties: []string{"connection"}, absent: "AzureWebJobsStorage", identity: "accountName"},
	{begins: "servicebus", properties: []string{"connection"}, absent: "AzureWebJobsServiceBus", identity: "fullyQualifiedNamespace"},
	{begins: "eventhub", properties: []string{"connection"}, identity: "fullyQualifiedNamespace"},
	{
		begins: "cosmosdb", properties: []string{"connection", "connectionStringSetting"}, absent: "CosmosDB", identity: "accountEndpoint",
		others: []string{"leaseConnection", "leaseConnectionStringSetting"}, since: 4,
	},
	{begins: "signalr", properties: []string{"connectionStringSetting"}, absent: "AzureSignalRConnectionString", identity: "serviceUri"},
	{begins: "sql", properties: []string{"connectionStringSetting"}},
	{begins: "mysql", properties: []string{"connectionStringSetting"}},
	{begins: "rabbitmq", properties: []string{"connectionStringSetting"}},
	{begins: "webpubsub", properties: []string{"connection", "connectionStringSetting"}, absent: "WebPubSubConnectionString", identity: "serviceUri"},
	{begins: "sendgrid", properties: []string{"apiKey"}, absent: "AzureWebJobsSendGridApiKey"},
}

// otherKind is what bindings of unknown types have.
var otherKind = connectionKind{properties: []string{"connection"}}

func kindOf(b app.Binding) connectionKind {
	for _, k := range connectionKinds {
		if strings.HasPrefix(strings.ToLower(b.Type), k.begins) {
			return k
		}
	}
	return otherKind
}

// connection is one connection that a binding names.
type connection struct {
	property, name string
}

// connections returns those of a binding, with names as function.json has them, %names% resolved.
// old is an old property that the extension bundle no longer reads; "" means none.
func connections(b app.Binding, bundle int) (list []connection, old string) {
	k := kindOf(b)
	properties := k.properties
	if k.since > 0 && bundle >= k.since {
		for _, p := range properties[1:] {
			if b.Text(p) != "" && b.Text(properties[0]) == "" {
				old = p
			}
		}
		properties = properties[:1]
	}
	own := connection{"connection", k.absent}
	for _, p := range properties {
		if name := b.Text(p); name != "" {
			own = connection{p, name}
			break
		}
	}
	if own.name != "" {
		list = append(list, own)
	}
	for i, p := range k.others {
		if k.since > 0 && bundle >= k.since && i > 0 {
			break
		}
		if name := b.Text(p); name != "" && !strings.EqualFold(name, own.name) {
			list = append(list, connection{p, name})
		}
	}
	return list, old
}

// checkConnections makes sure that each binding's connections are set. The host starts without them,
// and the function never runs.
func (f *Function) checkConnections(env *Environment, a *app.App) {
	for _, b := range f.App.Bindings {
		list, old := connections(b, a.BundleVersion)
		for _, c := range list {
			why := env.connects(c.name)
			if why == "" {
				continue
			}
			hint := "add the app setting " + settingName(c.name) + " with a connection string"
			if identity := kindOf(b).identity; identity != "" {
				hint += ", or " + settingName(c.name) + "__" + identity + " for a managed identity"
			}
			if old != "" && c.property == "connection" {
				hint = "name the setting in the property connection: the extension no longer reads " + old + "; or " + hint
			}
			f.Faults = append(f.Faults, faultOf(cause.TriggerConnection, f.App.Name, settingName(c.name), hint,
				"want the connection of the binding %s (%s, %s), got %s", b.Name, b.Type, c.property, why))
		}
	}
}

// settingName is how an app setting is written that a function names with colons: Linux has no colons
// in the names of settings.
func settingName(name string) string { return strings.ReplaceAll(name, ":", "__") }

// connects says what is missing of a connection, or "" where the host finds it: the setting itself,
// with AzureWebJobs in front, as a connection string, or as a section of several settings
// (Azure/azure-webjobs-sdk src/Microsoft.Azure.WebJobs.Host/Extensions/IConfigurationExtensions.cs).
func (e *Environment) connects(name string) string {
	missing := fmt.Sprintf("no app setting %s, AzureWebJobs%s or %s__…", settingName(name), settingName(name), settingName(name))
	for _, candidate := range []string{"AzureWebJobs" + name, "ConnectionStrings:" + name, name} {
		switch value, there := e.App(candidate); {
		case !there:
		case strings.TrimSpace(value) == "":
			missing = "a blank value of the app setting " + settingName(candidate)
			continue
		case app.Unresolved(value) != "":
			return "an unresolved " + app.Unresolved(value) + "…) reference"
		default:
			return ""
		}
		found, why := e.members(candidate)
		if found {
			return why
		}
	}
	return missing
}

// members looks for the settings of a section that are filled in.
func (e *Environment) members(section string) (found bool, why string) {
	begin := strings.ToUpper(section) + ":"
	var names []string
	for name, v := range e.host {
		if strings.HasPrefix(name, begin) && strings.TrimSpace(v.value) != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if v := e.host[name]; app.Unresolved(v.value) != "" {
			return true, "an unresolved " + app.Unresolved(v.value) + "…) reference in " + v.name
		}
	}
	return len(names) > 0, ""
}
