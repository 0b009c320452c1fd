package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// choices is the content of env/<name>.json. types.bicep declares the same properties and says what each means; a check compares the two.
type choices struct {
	ResourceGroup        string            `json:"resourceGroup,omitempty"`
	Tags                 map[string]string `json:"tags,omitempty"`
	Locations            []string          `json:"locations,omitempty"`
	ZoneRedundant        bool              `json:"zoneRedundant,omitempty"`
	IdentityKind         string            `json:"identityKind,omitempty"`
	Identities           []identity        `json:"identities,omitempty"`
	Timers               []string          `json:"timers"` // never left out: an empty list says that there are none
	TimerMinutes         map[string]int    `json:"timerMinutes,omitempty"`
	Settings             map[string]any    `json:"settings,omitempty"`
	TriggerRoles         []triggerRole     `json:"triggerRoles,omitempty"`
	API                  *api              `json:"api,omitempty"`
	Registration         *registration     `json:"registration,omitempty"`
	External             *external         `json:"external,omitempty"`
	Authentication       *authentication   `json:"authentication,omitempty"`
	Vault                *existing         `json:"vault,omitempty"`
	PurgeProtection      *bool             `json:"purgeProtection,omitempty"`
	Network              *network          `json:"network,omitempty"`
	LogicApp             *bool             `json:"logicApp,omitempty"`
	StorageQueues        bool              `json:"storageQueues,omitempty"`
	StorageTables        bool              `json:"storageTables,omitempty"`
	InstanceMemoryMB     *int              `json:"instanceMemoryMB,omitempty"`
	MaximumInstanceCount *int              `json:"maximumInstanceCount,omitempty"`
	HTTPConcurrency      *int              `json:"httpConcurrency,omitempty"`
	AlwaysReady          []alwaysReady     `json:"alwaysReady,omitempty"`
	Development          bool              `json:"development,omitempty"`
	ActionGroups         []string          `json:"actionGroups,omitempty"`
	RetentionInDays      *int              `json:"retentionInDays,omitempty"`
	ResourceLogs         bool              `json:"resourceLogs,omitempty"`
}

type identity struct {
	Name         string   `json:"name"`
	Roles        []string `json:"roles"`
	Functions    []string `json:"functions,omitempty"`
	FederatedApp string   `json:"federatedApp,omitempty"`
}

type triggerRole struct {
	Kind          string `json:"kind"`
	Name          string `json:"name"`
	ResourceGroup string `json:"resourceGroup"`
	Subscription  string `json:"subscription,omitempty"`
	Role          string `json:"role"`
}

type existing struct {
	Name          string `json:"name"`
	ResourceGroup string `json:"resourceGroup"`
	Subscription  string `json:"subscription,omitempty"`
}

type operation struct {
	Name        string `json:"name"`
	Method      string `json:"method"`
	URLTemplate string `json:"urlTemplate"`
	Access      string `json:"access,omitempty"`
}

type api struct {
	Name           string      `json:"name,omitempty"`
	Path           string      `json:"path,omitempty"`
	BackendURL     string      `json:"backendUrl,omitempty"`
	Operations     []operation `json:"operations,omitempty"`
	Existing       *existing   `json:"existing,omitempty"`
	GatewayURL     string      `json:"gatewayUrl,omitempty"`
	SKU            string      `json:"sku,omitempty"`
	PublisherEmail string      `json:"publisherEmail,omitempty"`
	PublisherName  string      `json:"publisherName,omitempty"`
	CallPath       string      `json:"callPath,omitempty"`
}

type registration struct {
	ClientID string `json:"clientId"`
	AppIDURI string `json:"appIdUri"`
}

type external struct {
	URL       string `json:"url"`
	TargetApp string `json:"targetApp"`
	TenantID  string `json:"tenantId,omitempty"`
	Role      string `json:"role"`
	KeyHeader string `json:"keyHeader,omitempty"`
}

type authentication struct {
	ClientID  string   `json:"clientId"`
	Audiences []string `json:"audiences,omitempty"`
	Callers   []string `json:"callers,omitempty"`
}

type network struct {
	Isolated        bool     `json:"isolated"`
	ClosedApp       bool     `json:"closedApp,omitempty"`
	AddressPrefixes []string `json:"addressPrefixes,omitempty"`
	Subnets         []subnet `json:"subnets,omitempty"`
	Zones           *zones   `json:"zones,omitempty"`
}

type subnet struct {
	App       string `json:"app"`
	Endpoints string `json:"endpoints"`
}

type zones struct {
	Blob    string `json:"blob,omitempty"`
	Vault   string `json:"vault,omitempty"`
	Gateway string `json:"gateway,omitempty"`
	Site    string `json:"site,omitempty"`
}

type alwaysReady struct {
	Name          string `json:"name"`
	InstanceCount int    `json:"instanceCount"`
}

// existingService is the API Management service that is there already, nil for a new one.
func (c *choices) existingService() *existing {
	if c.API == nil {
		return nil
	}
	return c.API.Existing
}

// texts are the settings as the app will have them: the defaults of modules/region.bicep, and what is
// chosen. check refuses values that are no text.
func (c *choices) texts() map[string]string {
	all := map[string]string{"PollSchedule": "0 */5 * * * *"}
	for name, value := range c.Settings {
		if strings.EqualFold(name, "PollSchedule") {
			delete(all, "PollSchedule")
		}
		all[name], _ = value.(string)
	}
	return all
}

// newService reports whether the deployment makes an API Management service.
func (c *choices) newService() bool { return c.External == nil && c.existingService() == nil }

// withLogicApp reports whether the Logic App is made: main.bicep.
func (c *choices) withLogicApp() bool {
	return (c.LogicApp == nil || *c.LogicApp) && (c.External == nil || c.External.KeyHeader != "none")
}

func parse(data []byte) (*choices, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	c := new(choices)
	if err := decoder.Decode(c); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("want one JSON object and nothing behind it")
	}
	return c, nil
}
