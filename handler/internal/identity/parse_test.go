package identity_test

import (
	"fmt"
	"strings"
	"testing"

	"apimrelay/handler/internal/identity"
	"apimrelay/internal/secret"
)

const (
	guidA = "22222222-2222-2222-2222-222222222222"
	guidT = "aaaaaaaa-0000-0000-0000-000000000000"
)

func TestParse(t *testing.T) {
	system := identity.Connection{Kind: identity.SystemAssigned}
	user := identity.Connection{Kind: identity.UserAssigned, ClientID: guidA}
	az := identity.Connection{Kind: identity.AzureCLI}
	withSecret := func(s string) identity.Connection {
		return identity.Connection{Kind: identity.ClientSecret, ClientID: guidA, TenantID: guidT,
			Secret: secret.New(s)}
	}
	withCertificate := identity.Connection{Kind: identity.ClientCertificate, ClientID: guidA,
		TenantID: guidT, Thumbprint: "1"}
	app := "RunAs=App;AppId=" + guidA
	full := app + ";TenantId=" + guidT
	for _, tc := range []struct {
		name string
		in   string
		want identity.Connection
		warn string // part of the one warning
		err  string // part of the error
	}{
		// App, system-assigned
		{name: "the shortest", in: "RunAs=App", want: system},
		{name: "lower case", in: "runas=app", want: system},
		{name: "a semicolon at the end", in: "RunAs=App;", want: system},
		{name: "blanks and a semicolon in front", in: " ; RunAs=App", want: system},
		{name: "many semicolons at the end", in: "RunAs=App;;;  ;", want: system},
		{name: "blanks around the value", in: "RunAs=  App  ", want: system},
		{name: "a quoted value", in: `RunAs="App"`, want: system},
		{name: "a line break before the semicolon", in: "RunAs=App\r\n;", want: system},
		{name: "a no-break space around the value", in: "RunAs=\u00a0App\u00a0", want: system},
		{name: "a tenant without AppId has no effect", in: "RunAs=App;TenantId=t", want: system,
			warn: "TenantId has no effect"},
		{name: "a secret without AppId", in: "RunAs=App;AppKey=s3cret;TenantId=t",
			err: "AppKey is given without AppId"},
		{name: "a certificate without AppId",
			in:  "RunAs=App;CertificateThumbprint=1;CertificateStoreLocation=CurrentUser",
			err: "is given without AppId"},
		{name: "a certificate from Key Vault without AppId",
			in:  "RunAs=App;KeyVaultCertificateSecretIdentifier=https://v",
			err: "is given without AppId"},
		{name: "a developer's tool under RunAs=App", in: "RunAs=App;DeveloperTool=AzureCli",
			want: system, warn: "DeveloperTool has no effect"},

		// App, user-assigned
		{name: "a client id", in: app, want: user},
		{name: "upper case and blanks everywhere", in: "RUNAS = APP ; APPID = " + guidA + " ;",
			want: user},
		{name: "quoted values", in: `RunAs='App';AppId="` + guidA + `"`, want: user},
		{name: "an AppId that is no GUID", in: "RunAs=App;AppId=not-a-guid",
			err: "AppId is no GUID: want the form 00000000-0000-0000-0000-000000000000, got 10 " +
				"characters"},
		{name: "an AppId in braces", in: "RunAs=App;AppId={" + guidA + "}",
			err: "got one in braces"},
		{name: "an AppId that is a placeholder", in: "RunAs=App;AppId={client id}",
			err: "got a placeholder"},
		{name: "an empty AppId", in: "RunAs=App;AppId=", err: "AppId is empty"},
		{name: "a blank AppId", in: "RunAs=App;AppId= ;", err: "AppId is empty"},
		{name: "a quoted blank AppId", in: `RunAs=App;AppId="  "`, err: "AppId is empty"},
		{name: "a tenant with AppId alone has no effect", in: full, want: user,
			warn: "TenantId has no effect"},

		// client secret
		{name: "a client secret", in: full + ";AppKey=s", want: withSecret("s")},
		{name: "a client secret in another order and case", in: "appkey=s;TENANTID=" + guidT +
			";appid=" + guidA + ";RUNAS=app", want: withSecret("s")},
		{name: "a client secret without a tenant", in: app + ";AppKey=s3cret",
			err: "TenantId is missing"},
		{name: "a client secret with an empty tenant", in: app + ";TenantId=;AppKey=s3cret",
			err: "TenantId is empty"},
		{name: "a client secret with a tenant that is none", in: app +
			";TenantId=a/b;AppKey=s3cret", err: "TenantId is no tenant"},
		{name: "a client secret with a domain for a tenant", in: app +
			";TenantId=contoso.onmicrosoft.com;AppKey=s",
			want: identity.Connection{Kind: identity.ClientSecret, ClientID: guidA,
				TenantID: "contoso.onmicrosoft.com", Secret: secret.New("s")}},
		{name: "an empty secret", in: full + ";AppKey=", err: "AppKey is empty"},
		{name: "a secret with equals signs", in: full + ";AppKey=abc=def==",
			want: withSecret("abc=def==")},
		{name: "a secret with a semicolon in double quotes", in: full + `;AppKey="a;b"`,
			want: withSecret("a;b")},
		{name: "a secret with a semicolon in single quotes", in: full + ";AppKey='a;b'",
			want: withSecret("a;b")},
		{name: "a secret with a doubled quote", in: full + `;AppKey="a""b"`,
			want: withSecret(`a"b`)},
		{name: "a secret with a quote inside", in: full + `;AppKey=a"b`, want: withSecret(`a"b`)},
		{name: "a secret with single quotes doubled", in: full + ";AppKey='a''b'",
			want: withSecret("a'b")},
		{name: "a secret with blanks inside", in: full + ";AppKey=a b\tc",
			want: withSecret("a b\tc")},
		{name: "a secret that begins with = after a blank", in: full + ";AppKey= =abc",
			want: withSecret("=abc")},
		{name: "a secret that begins with =", in: full + ";AppKey==abc",
			err: "must stand in quotes"},
		{name: "a secret with a bare semicolon", in: full + ";AppKey=a;b",
			err: "pair 5: want Key=Value, got no ="},
		{name: "a secret with one quote in front", in: full + `;AppKey="ab`,
			err: "want a closing quote"},
		{name: "a secret with one quote behind", in: full + `;AppKey=ab"`,
			err: "want quotes at both ends"},
		{name: "text after a closing quote", in: full + `;AppKey="a"b"`, err: "must be doubled"},
		{name: "a secret that looks like the secret's id", in: full + ";AppKey=" + guidT,
			want: withSecret(guidT), warn: "looks like the id"},

		// certificate
		{name: "a certificate by thumbprint", in: full +
			";CertificateThumbprint=1;CertificateStoreLocation=CurrentUser", want: withCertificate},
		{name: "a certificate in the machine's store", in: full +
			";CertificateThumbprint=1;CertificateStoreLocation=localmachine",
			want: withCertificate},
		{name: "a certificate by subject", in: full +
			";CertificateSubjectName=CN=x;CertificateStoreLocation=CurrentUser",
			err: "CertificateSubjectName is not supported"},
		{name: "thumbprint and subject: the thumbprint decides", in: full +
			";CertificateThumbprint=1;CertificateSubjectName=CN=x;CertificateStoreLocation=CurrentUser",
			want: withCertificate, warn: "CertificateSubjectName has no effect"},
		{name: "a thumbprint without a store", in: full + ";CertificateThumbprint=1",
			err: "CertificateStoreLocation is missing"},
		{name: "a store without a certificate", in: full + ";CertificateStoreLocation=CurrentUser",
			err: "CertificateThumbprint is missing"},
		{name: "a certificate without a tenant", in: app +
			";CertificateThumbprint=1;CertificateStoreLocation=CurrentUser",
			err: "TenantId is missing"},
		{name: "an unknown store", in: full +
			";CertificateThumbprint=1;CertificateStoreLocation=Nope",
			err: `CertificateStoreLocation has an unknown value "Nope"`},
		{name: "an empty store", in: full + ";CertificateThumbprint=1;CertificateStoreLocation=",
			err: "CertificateStoreLocation is empty"},
		{name: "a thumbprint that is a path", in: full +
			";CertificateThumbprint=../../etc/passwd;CertificateStoreLocation=CurrentUser",
			err: "CertificateThumbprint is no thumbprint"},
		{name: "a thumbprint with an invisible character", in: full +
			";CertificateThumbprint=\u200e12;CertificateStoreLocation=CurrentUser",
			err: "got 3 characters"},
		{name: "a secret and a certificate: the certificate decides", in: full +
			";AppKey=s;CertificateThumbprint=1;CertificateStoreLocation=CurrentUser",
			want: withCertificate, warn: "AppKey has no effect"},
		{name: "a certificate from Key Vault", in: app +
			";KeyVaultCertificateSecretIdentifier=https://v.vault.azure.net/secrets/c",
			err: "use a managed identity"},
		{name: "a certificate from Key Vault with everything", in: full +
			";KeyVaultCertificateSecretIdentifier=https://v;KeyVaultUserAssignedManagedIdentityId=" + guidT,
			err: "a certificate from Key Vault is not supported"},

		// MsiRetryTimeout
		{name: "a retry time-out has no effect", in: "RunAs=App;MsiRetryTimeout=30", want: system,
			warn: "MsiRetryTimeout has no effect"},
		{name: "a retry time-out of letters", in: "RunAs=App;MsiRetryTimeout=abc",
			err: "MsiRetryTimeout is no number"},
		{name: "a negative retry time-out", in: "RunAs=App;MsiRetryTimeout=-1",
			err: "MsiRetryTimeout is no number"},
		{name: "an empty retry time-out", in: "RunAs=App;MsiRetryTimeout=",
			err: "MsiRetryTimeout is no number"},

		// Developer
		{name: "Azure CLI, as in the article", in: "RunAs=Developer; DeveloperTool=AzureCli",
			want: az},
		{name: "Azure CLI in any case", in: "RUNAS=DEVELOPER;DEVELOPERTOOL=AZURECLI", want: az},
		{name: "Azure CLI with an id", in: "RunAs=Developer;DeveloperTool=AzureCli;AppId=x",
			want: az, warn: "AppId has no effect"},
		{name: "Azure CLI with a tenant", in: "RunAs=Developer;DeveloperTool=AzureCli;TenantId=t",
			want: az, warn: "TargetTenantID is passed"},
		{name: "Azure Developer CLI", in: "RunAs=Developer;DeveloperTool=AzureDeveloperCli",
			want: identity.Connection{Kind: identity.AzureDeveloperCLI}},
		{name: "Visual Studio", in: "RunAs=Developer;DeveloperTool=VisualStudio",
			err: "want DeveloperTool=AzureCli or DeveloperTool=AzureDeveloperCli"},
		{name: "Visual Studio Code", in: "RunAs=Developer;DeveloperTool=VisualStudioCode",
			err: "is not supported"},
		{name: "an unknown tool", in: "RunAs=Developer;DeveloperTool=Hammer",
			err: `unknown value "Hammer"`},
		{name: "no tool", in: "RunAs=Developer", err: "DeveloperTool is missing"},
		{name: "an empty tool", in: "RunAs=Developer;DeveloperTool=",
			err: "DeveloperTool is empty"},

		// the others
		{name: "the current user", in: "RunAs=CurrentUser",
			err: "RunAs=CurrentUser is the sign-in of a Windows domain"},
		{name: "workload identity", in: "RunAs=Workload",
			want: identity.Connection{Kind: identity.Workload}},
		{name: "workload identity with ids", in: "RunAs=Workload;AppId=" + guidA + ";TenantId=" +
			guidT,
			want: identity.Connection{Kind: identity.Workload, ClientID: guidA, TenantID: guidT}},
		{name: "workload identity with an id that is none", in: "RunAs=Workload;AppId=x",
			err: "AppId is no GUID"},
		{name: "workload identity with a secret", in: "RunAs=Workload;AppKey=s3cret",
			want: identity.Connection{Kind: identity.Workload}, warn: "AppKey has no effect"},

		// keys and form
		{name: "an unknown key", in: "RunAs=App;Foo=Bar", err: "pair 2: unknown key"},
		{name: "an unknown key that resembles one", in: "RunAs=App;ClientId=" + guidA,
			err: "is AppId meant?"},
		{name: "a key in two words", in: "Run As=App",
			err: "pair 1: unknown key (is RunAs meant?)"},
		{name: "a key in quotes", in: `"RunAs"=App`, err: "pair 1: unknown key (is RunAs meant?)"},
		{name: "a stray word swallows the next pair", in: "RunAs=App;Foo;AppId=" + guidA,
			err: "pair 2: a word without = stands before AppId and would swallow it"},
		{name: "a key twice", in: "RunAs=App;RunAs=App", err: "pair 2: RunAs is repeated"},
		{name: "a key twice in another case", in: "RunAs=App;runas=App",
			err: "pair 2: RunAs is repeated"},
		{name: "an empty RunAs", in: "RunAs=", err: "RunAs is empty"},
		{name: "semicolons alone", in: ";;", err: "RunAs is missing"},
		{name: "no RunAs", in: "DeveloperTool=AzureCli", err: "RunAs is missing"},
		{name: "a key alone", in: "RunAs", err: "pair 1: want Key=Value, got no ="},
		{name: "a value alone", in: "App", err: "got no ="},
		{name: "a colon for the equals sign", in: "RunAs:App", err: "got no ="},
		{name: "a stray word at the end", in: "RunAs=App;Foo",
			err: "pair 2: want Key=Value, got no ="},
		{name: "a key without a value at the end", in: "RunAs=App;AppId",
			err: "pair 2: want Key=Value, got no ="},
		{name: "no key", in: "=App", err: "want a key before the ="},
		{name: "a doubled equals sign in a key", in: "Run==As=App", err: "pair 1: unknown key"},
		{name: "a comma for the semicolon", in: "RunAs=App,AppId=x",
			err: "pairs are separated by a semicolon"},
		{name: "an unknown RunAs", in: "RunAs=Robot", err: `RunAs has an unknown value "Robot"`},
		{name: "a zero-width space after the value", in: "RunAs=App\u200b",
			err: "RunAs has an unknown value: want"},
		{name: "a byte order mark in front", in: "\ufeffRunAs=App",
			err: "pair 1: unknown key (is RunAs meant?)"},
		{name: "a control character in a value", in: "RunAs=A\x01pp",
			err: "got a control character"},
		{name: "a control character in a key", in: "Run\x01As=App", err: "got a control character"},
		{name: "a byte that is no UTF-8", in: "RunAs=App\xff", err: "want text in UTF-8"},
		{name: "nothing", in: "", err: "the connection string is empty"},
		{name: "blanks", in: " \t\n", err: "the connection string is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, warnings, err := identity.Parse(tc.in)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one with %q", err, tc.err)
				}
				if strings.Contains(err.Error(), "s3cret") || strings.ContainsAny(err.Error(),
					"\n\r") {
					t.Fatalf("error %q holds the secret or a line break", err)
				}
				if got.Key() != (identity.Connection{}).Key() || warnings != nil {
					t.Fatalf("an error, and yet %v with warnings %v", got, warnings)
				}
				return
			}
			if err != nil {
				t.Fatalf("error %v", err)
			}
			if got.Key() != tc.want.Key() || got.ClientID != tc.want.ClientID ||
				got.Secret.Reveal() != tc.want.Secret.Reveal() {
				t.Fatalf("got %v, want %v", got, tc.want)
			}
			if all := strings.Join(warnings, "; "); tc.warn == "" && all != "" ||
				!strings.Contains(all, tc.warn) || strings.Contains(all, "s3cret") {
				t.Fatalf("warnings %q, want %q", warnings, tc.warn)
			}
		})
	}
}

func TestAConnectionIsNamedForPeople(t *testing.T) {
	for in, want := range map[string]string{
		"RunAs=App":                "system-assigned managed identity",
		"RunAs=App;AppId=" + guidA: "user-assigned managed identity, client id " + guidA,
		"RunAs=App;AppId=" + guidA + ";TenantId=" + guidT +
			";AppKey=s3cret": "app registration " +
			"with a client secret, client id " + guidA + ", tenant " + guidT,
		"RunAs=App;AppId=" + guidA + ";TenantId=" + guidT +
			";CertificateThumbprint=1F;CertificateStoreLocation=CurrentUser": "app registration " +
			"with a certificate, client id " + guidA + ", tenant " + guidT + ", thumbprint 1F",
		"RunAs=Developer;DeveloperTool=AzureCli":          "developer signed in to the Azure CLI",
		"RunAs=Developer;DeveloperTool=AzureDeveloperCli": "developer signed in to the Azure Developer CLI",
		"RunAs=Workload":                "workload identity",
		"RunAs=Workload;AppId=" + guidA: "workload identity, client id " + guidA,
	} {
		c, _, err := identity.Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if c.String() != want {
			t.Errorf("got %q, want %q", c, want)
		}
		if all := fmt.Sprintf("%v %+v %#v %s", c, c, c, c.Key()); strings.Contains(all, "s3cret") {
			t.Errorf("the secret is printed: %s", all)
		}
	}
	if got := (identity.Connection{}).String(); got != "no identity" {
		t.Errorf("zero: %q", got)
	}
}

func TestKeysTellIdentitiesApart(t *testing.T) {
	full := "RunAs=App;AppId=" + guidA + ";TenantId=" + guidT
	store := ";CertificateStoreLocation=CurrentUser;CertificateThumbprint="
	different := []string{
		"RunAs=App", "RunAs=App;AppId=" + guidA, "RunAs=App;AppId=" + guidT, full + ";AppKey=a",
		full + ";AppKey=b", full + store + "1", full + store + "2",
		"RunAs=App;AppId=" + guidA + ";TenantId=other;AppKey=a",
		"RunAs=Developer;DeveloperTool=AzureCli",
		"RunAs=Developer;DeveloperTool=AzureDeveloperCli",
		"RunAs=Workload", "RunAs=Workload;AppId=" + guidA, "RunAs=Workload;TenantId=" + guidT,
	}
	seen := map[string]string{}
	for _, in := range different {
		c, _, err := identity.Parse(in)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if other, twice := seen[c.Key()]; twice {
			t.Errorf("%q and %q have one key", in, other)
		}
		seen[c.Key()] = in
	}
	for a, b := range map[string]string{
		"RunAs=App": " runas = 'app' ; MsiRetryTimeout=5",
		"RunAs=App;AppId=abcdefab-2222-2222-2222-222222222222": "RunAs=App;AppId=ABCDEFAB-2222-2222-2222-222222222222",
		full + ";AppKey=a":  full + `;AppKey="a"`,
		full + store + "aB": full + store + "Ab",
	} {
		ca, _, errA := identity.Parse(a)
		cb, _, errB := identity.Parse(b)
		if errA != nil || errB != nil || ca.Key() != cb.Key() {
			t.Errorf("%q and %q: %v, %v, keys %q and %q", a, b, errA, errB, ca.Key(), cb.Key())
		}
	}
}

func TestAFederatedIdentityIsReadOrRefused(t *testing.T) {
	const a, b = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	c, warnings, err := identity.Parse("RunAs=App;AppId=" + a + ";TenantId=contoso.com;FederatedIdentity=" + b)
	if err != nil || len(warnings) > 0 || c.Kind != identity.Federated || c.ClientID != a || c.Assertion != b || c.TenantID != "contoso.com" {
		t.Fatalf("got %+v, %v, %v", c, warnings, err)
	}
	for text, want := range map[string]string{
		"RunAs=App;FederatedIdentity=" + b:                                                     "without AppId",
		"RunAs=App;AppId=" + a + ";FederatedIdentity=" + b:                                     "TenantId is missing",
		"RunAs=App;AppId=" + a + ";TenantId=x;FederatedIdentity=":                              "FederatedIdentity is empty",
		"RunAs=App;AppId=" + a + ";TenantId=x;FederatedIdentity=reader":                        "FederatedIdentity is no GUID",
		"RunAs=App;AppId=" + a + ";TenantId=x;FederatedIdentity=" + a:                          "the same as AppId",
		"RunAs=App;AppId=" + a + ";TenantId=x;AppKey=canary;FederatedIdentity=" + b:            "AppKey stands beside FederatedIdentity",
		"RunAs=App;AppId=" + a + ";TenantId=x;CertificateThumbprint=ab;FederatedIdentity=" + b: "CertificateThumbprint stands beside",
	} {
		if _, _, err := identity.Parse(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: want %q, got %v", text, want, err)
		}
	}
}
