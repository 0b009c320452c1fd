package policy_test

import (
	"errors"
	"strings"
	"testing"

	"apimrelay/internal/policy"
)

const validJWT = `<validate-jwt header-name="Authorization"><openid-config url="https://login.example/x" /></validate-jwt>`

func TestParseRefusesWithFileAndLine(t *testing.T) {
	in := func(statements string) string {
		return "<policies>\n<inbound>\n" + statements + "\n</inbound>\n</policies>"
	}
	rows := []struct{ name, text, want string }{
		{"an empty file", "", `p.xml:1: policy is empty: want <policies>`},
		{"blanks alone", "\n \n", `p.xml:1: policy is empty`},
		{"another root", "<policy/>", `p.xml:1: root element is <policy>: want <policies>`},
		{"two roots", "<policies/>\n<policies/>", `p.xml:2: second root element <policies>`},
		{"text behind the root", "<policies/>\nx", `p.xml:1: text outside <policies>`},
		{"text in a section", in("x"), `p.xml:2: text in <inbound>: want none`},
		{"an unclosed element", "<policies>\n<inbound>\n</policies>", `p.xml:3: not well-formed XML`},
		{"an attribute without quotes", in(`<set-header name=x />`), `p.xml:3: not well-formed XML`},
		{"an attribute twice", in(`<set-header name="x"` + "\n" + `name="y" exists-action="delete" />`), `p.xml:4: attribute "name" of <set-header> stands twice`},
		{"a namespace", in(`<a:base xmlns:a="urn:a" />`), `p.xml:3: element <base> has a namespace`},
		{"a default namespace", `<policies xmlns="urn:a" />`, `p.xml:1: element <policies> has a namespace`},
		{"a document type", "<!DOCTYPE policies [<!ENTITY a \"b\">]>\n<policies/>", `p.xml:1: document type declarations are not allowed`},
		{"a processing instruction", "<?php x ?>\n<policies/>", `p.xml:1: processing instruction <?php?>`},
		{"an entity of its own", in("<base>&a;</base>"), `p.xml:3: not well-formed XML`},
		{"an unknown section", "<policies>\n<inbond />\n</policies>", `p.xml:2: unknown element <inbond> in <policies>: want inbound, backend, outbound, on-error`},
		{"a section twice", "<policies>\n<inbound />\n<inbound />\n</policies>", `p.xml:3: element <inbound> stands more than 1 times`},
		{"an attribute of a section", "<policies>\n<inbound a=\"b\" />\n</policies>", `p.xml:2: attribute "a" of <inbound> is unknown: the element takes none`},
		{"an unknown statement", in("<validate-jwts />"), `p.xml:3: unknown statement <validate-jwts> in <inbound>`},
		{"a statement that is not interpreted", in("<cors />"), `p.xml:3: statement <cors> is not interpreted here`},
		{"a choose, which needs expressions", in("<choose><when condition=\"@(true)\"><base/></when></choose>"), `p.xml:3: statement <choose> is not interpreted here`},
		{"a statement in the wrong section", "<policies>\n<outbound>\n" + validJWT + "</outbound></policies>", `p.xml:3: statement <validate-jwt> may not stand in <outbound>`},
		{"forward-request in inbound", in("<forward-request />"), `p.xml:3: statement <forward-request> may not stand in <inbound>`},
		{"base twice", in("<base />\n<base />"), `p.xml:4: statement <base> stands twice in <inbound>`},
		{"base with an attribute", in(`<base id="x" />`), `p.xml:3: attribute "id" of <base> is unknown`},
		{"an unknown attribute, on its own line", in("<validate-jwt header-name=\"A\"\n  required-scheme=\"Bearer\" />"), `p.xml:4: attribute "required-scheme" of <validate-jwt> is unknown: want one of header-name,`},
		{"an expression in an attribute", in("<set-header name=\"a\"\nexists-action=\"@(x)\"><value>b</value></set-header>"), `p.xml:4: attribute "exists-action" of <set-header> is an expression: C#`},
		{"an expression of several lines in a text", in("<set-header name=\"a\">\n<value>\n@{ return 1; }</value></set-header>"), `p.xml:4: expression in <value>: C#`},
		{"an expression with quotes as they are", in(`<set-header name="@(context.Get("x"))" />`), `attribute "name" of <set-header> is an expression: C#`},
		{"an expression without an end", in("<base />\n" + `<set-header name="@(context.Get("x")" />`), `p.xml:4: expression has no end`},
		{"a token-value expression", in(`<validate-jwt token-value="@(context.Request.Url)" />`), `p.xml:3: attribute "token-value" of <validate-jwt> is an expression`},
		{"no place for the token", in(`<validate-jwt />`), `p.xml:3: element <validate-jwt> needs exactly one of header-name, query-parameter-name, token-value: got 0`},
		{"two places for the token", in(`<validate-jwt header-name="a" query-parameter-name="b" />`), `needs exactly one of header-name, query-parameter-name, token-value: got 2`},
		{"audiences before openid-config", in("<validate-jwt header-name=\"a\">\n<audiences><audience>x</audience></audiences>\n<openid-config url=\"https://a/b\" />\n</validate-jwt>"),
			`p.xml:5: element <openid-config> must stand before <audiences> in <validate-jwt>: the order is openid-config, issuer-signing-keys, decryption-keys, audiences, issuers, required-claims`},
		{"required-claims before audiences", in("<validate-jwt header-name=\"a\"><required-claims><claim name=\"x\" /></required-claims>\n<audiences><audience>x</audience></audiences></validate-jwt>"),
			`p.xml:4: element <audiences> must stand before <required-claims>`},
		{"audiences twice", in("<validate-jwt header-name=\"a\"><audiences><audience>x</audience></audiences>\n<audiences><audience>x</audience></audiences></validate-jwt>"),
			`p.xml:4: element <audiences> stands more than 1 times`},
		{"no audience in audiences", in(`<validate-jwt header-name="a"><audiences /></validate-jwt>`), `p.xml:3: element <audiences> needs a <audience>`},
		{"a blank audience", in(`<validate-jwt header-name="a"><audiences><audience> </audience></audiences></validate-jwt>`), `p.xml:3: element <audience> is blank`},
		{"an unknown child", in(`<validate-jwt header-name="a"><audience>x</audience></validate-jwt>`), `p.xml:3: unknown element <audience> in <validate-jwt>: want openid-config,`},
		{"a claim without a name", in(`<validate-jwt header-name="a"><required-claims><claim /></required-claims></validate-jwt>`), `p.xml:3: element <claim> needs the attribute "name"`},
		{"a match of its own", in(`<validate-jwt header-name="a"><required-claims><claim name="r" match="some" /></required-claims></validate-jwt>`), `p.xml:3: attribute "match" of <claim> is "some": want all, any`},
		{"a metadata address without scheme", in(`<validate-jwt header-name="a"><openid-config url="login.microsoftonline.com/x" /></validate-jwt>`), `p.xml:3: attribute "url" of <openid-config> is "login.microsoftonline.com/x": want the complete address`},
		{"a skew in words", in(`<validate-jwt header-name="a" clock-skew="a minute" />`), `p.xml:3: attribute "clock-skew" of <validate-jwt> is "a minute": want a whole number`},
		{"a negative skew", in(`<validate-jwt header-name="a" clock-skew="-1" />`), `attribute "clock-skew" of <validate-jwt> is "-1"`},
		{"yes for true", in(`<validate-jwt header-name="a" require-signed-tokens="yes" />`), `p.xml:3: attribute "require-signed-tokens" of <validate-jwt> is "yes": want true or false`},
		{"a blank scheme", in(`<validate-jwt header-name="a" require-scheme="" />`), `p.xml:3: attribute "require-scheme" of <validate-jwt> is blank`},
		{"a key of two forms", in(`<validate-jwt header-name="a"><issuer-signing-keys><key certificate-id="c">YQ==</key></issuer-signing-keys></validate-jwt>`), `p.xml:3: element <key> needs one of base64 text, certificate-id, or n and e`},
		{"a modulus alone", in(`<validate-jwt header-name="a"><issuer-signing-keys><key n="x" /></issuer-signing-keys></validate-jwt>`), `p.xml:3: element <key> needs both n and e`},
		{"azure ad token without tenant", in(`<validate-azure-ad-token />`), `p.xml:3: element <validate-azure-ad-token> needs the attribute "tenant-id"`},
		{"a header without a value", in(`<set-header name="a" />`), `p.xml:3: element <set-header> needs a <value>, unless exists-action is "delete"`},
		{"a header name with a blank", in(`<set-header name="a b" exists-action="delete" />`), `p.xml:3: attribute "name" of <set-header> is "a b": want the name of a header`},
		{"a header value with a line break", in("<set-header name=\"a\"><value>b\nc</value></set-header>"), `value in <value> holds a control character`},
		{"an action of its own", in(`<set-query-parameter name="a" exists-action="remove" />`), `p.xml:3: attribute "exists-action" of <set-query-parameter> is "remove": want override, skip, append, delete`},
		{"a rate limit over five minutes", in(`<rate-limit calls="1" renewal-period="301" />`), `p.xml:3: attribute "renewal-period" of <rate-limit> is "301": want a whole number from 1 to 300`},
		{"two rate limits", in("<rate-limit calls=\"1\" renewal-period=\"60\" />\n<rate-limit calls=\"1\" renewal-period=\"60\" />"), `p.xml:4: statement <rate-limit> stands twice in <inbound>`},
		{"a rate limit for one API of a product", in(`<rate-limit calls="1" renewal-period="60"><api name="a" calls="1" renewal-period="1" /></rate-limit>`), `unknown element <api> in <rate-limit>: want no element here`},
		{"a check-header without a message", in(`<check-header name="a" failed-check-httpcode="400" ignore-case="true" />`), `needs the attribute "failed-check-error-message"`},
		{"an ip-filter without addresses", in(`<ip-filter action="allow" />`), `p.xml:3: element <ip-filter> needs an <address>`},
		{"an ip-filter with a name", in(`<ip-filter action="allow"><address-range from="a" to="10.0.0.1" /></ip-filter>`), `attribute "from" of <address-range> is "a": want an IP address`},
		{"a status without code", in(`<return-response><set-status reason="x" /></return-response>`), `element <set-status> needs the attribute "code"`},
		{"a liquid body", in(`<return-response><set-body template="liquid">x</set-body></return-response>`), `attribute "template" of <set-body> is "liquid": this attribute is not interpreted here`},
		{"two time-outs", "<policies>\n<backend>\n<forward-request timeout=\"1\" timeout-ms=\"1\" /></backend></policies>", `p.xml:3: element <forward-request> has both timeout and timeout-ms`},
		{"too deep", strings.Repeat("<policies>", 40), `nested deeper than 32 levels`},
		{"too large", "<policies>" + strings.Repeat(" ", policy.MaxSize) + "</policies>", `p.xml:1: policy is larger than the 262144 bytes`},
		{"UTF-16", "\xff\xfe<\x00p\x00", `p.xml:1: not well-formed XML`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d, err := policy.Parse("p.xml", strings.NewReader(row.text))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("want %s\ngot  %v", row.want, err)
			}
			var one *policy.Error
			if !errors.As(err, &one) || one.File != "p.xml" || one.Line < 1 {
				t.Errorf("want an error with file and line, got %#v", err)
			}
			if d != nil && len(d.NamedValues()) > 0 {
				t.Errorf("got a document with an error")
			}
		})
	}
}

func TestParseReportsEveryFaultInTheOrderOfLines(t *testing.T) {
	_, err := policy.Parse("p.xml", strings.NewReader(`<policies>
<inbound>
<cors />
<set-header name="a" />
</inbound>
<outbound>
<set-hedaer />
</outbound>
</policies>`))
	var all policy.Errors
	if !errors.As(err, &all) {
		t.Fatalf("want policy.Errors, got %#v", err)
	}
	var lines []int
	for _, one := range all {
		lines = append(lines, one.Line)
	}
	if len(lines) != 3 || lines[0] != 3 || lines[1] != 4 || lines[2] != 7 {
		t.Errorf("want faults on lines 3, 4, 7, got %v", err)
	}
}

func TestParseTakes(t *testing.T) {
	for name, text := range map[string]string{
		"sections in any order":        "<policies><on-error/><outbound/><inbound/><backend/></policies>",
		"no section":                   "<policies />",
		"a declaration and a BOM":      "\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<policies><!-- c --></policies>",
		"CRLF line ends":               "<policies>\r\n<inbound>\r\n<base />\r\n</inbound>\r\n</policies>\r\n",
		"CDATA":                        "<policies><inbound><return-response><set-body><![CDATA[<a>&]]></set-body></return-response></inbound></policies>",
		"an id on every statement":     `<policies><inbound><set-header id="x" name="a" exists-action="delete" /></inbound></policies>`,
		"named values anywhere":        `<policies><inbound><validate-jwt header-name="{{h}}" clock-skew="{{s}}"><openid-config url="{{u}}" /></validate-jwt></inbound></policies>`,
		"return-response in any order": `<policies><inbound><return-response><set-body>x</set-body><set-header name="a"><value>b</value></set-header><set-status code="200" /></return-response></inbound></policies>`,
		"every attribute of validate-jwt": `<policies><inbound><validate-jwt id="v" query-parameter-name="t" failed-validation-httpcode="403" failed-validation-error-message="m"
			require-expiration-time="false" require-scheme="Bearer" require-signed-tokens="false" clock-skew="5" output-token-variable-name="jwt">
			<openid-config url="https://a/b" validate-connectivity="false" /><openid-config url="http://127.0.0.1:1/c" />
			<issuer-signing-keys><key id="1">YQ==</key><key certificate-id="c" /><key n="x" e="AQAB" /></issuer-signing-keys>
			<decryption-keys><key certificate-id="c" /><key>YQ==</key></decryption-keys>
			<audiences><audience>a</audience></audiences><issuers><issuer>i</issuer></issuers>
			<required-claims><claim name="scp" match="any" separator=" "><value>a</value></claim><claim name="x" /></required-claims>
			</validate-jwt></inbound></policies>`,
		"every attribute of validate-azure-ad-token": `<policies><inbound><validate-azure-ad-token tenant-id="t" header-name="h" authentication-endpoint="https://login.microsoftonline.us"
			failed-validation-httpcode="403" failed-validation-error-message="m" output-token-variable-name="v">
			<backend-application-ids><application-id>b</application-id></backend-application-ids>
			<client-application-ids><application-id>c</application-id></client-application-ids>
			<audiences><audience>a</audience></audiences><required-claims><claim name="x"><value>y</value></claim></required-claims>
			<decryption-keys><key certificate-id="c" /></decryption-keys></validate-azure-ad-token></inbound></policies>`,
		"every attribute of forward-request": `<policies><backend><forward-request timeout="10" continue-timeout="1" http-version="2or1" follow-redirects="false"
			buffer-request-body="true" buffer-response="false" fail-on-error-status-code="false" /></backend></policies>`,
	} {
		if _, err := policy.Parse("p.xml", strings.NewReader(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNamedValuesAreListedWithTheirLines(t *testing.T) {
	var got []string
	for _, v := range shipped(t, "api.xml").NamedValues() {
		if v.File != "api.xml" || v.Line < 30 {
			t.Errorf("want a place in api.xml, got %+v", v)
		}
		got = append(got, v.Name)
	}
	if want := "openid-config-url client-id app-id-uri"; strings.Join(got, " ") != want {
		t.Errorf("want %s, got %v", want, got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("<policies><inbound>" + validJWT + "<base /></inbound></policies>")
	f.Add("<policies><inbound><set-header name=\"a\" exists-action=\"{{x}}\"><value>{{y}}</value></set-header></inbound></policies>")
	f.Add("<policies><inbound><return-response><set-status code=\"200\" /><set-body><![CDATA[{{]]></set-body></return-response></inbound></policies>")
	f.Add("<policies><inbound><ip-filter action=\"allow\"><address>::1</address></ip-filter><rate-limit calls=\"1\" renewal-period=\"1\" /></inbound></policies>")
	f.Add("<policies\n a='b'><?x?><!-- --><inbound/></policies>")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := policy.Parse("f.xml", strings.NewReader(text))
		var all policy.Errors
		if err != nil {
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("want policy.Errors, got %#v", err)
			}
			for _, one := range all {
				if one.Line < 1 || one.Line > strings.Count(text, "\n")+1 || strings.Contains(one.Text, "\n") {
					t.Errorf("want one line of text and a line of the file, got %#v", one)
				}
			}
			return
		}
		values := map[string]string{}
		for _, v := range d.NamedValues() {
			values[v.Name] = "1"
		}
		p, err := policy.Merge(policy.Scopes{API: d}, values)
		if err != nil {
			return
		}
		v := p.Evaluate(policy.Input{Limits: &policy.Limits{}, Subscription: "s"})
		if !v.Pass && v.Answer == nil {
			t.Errorf("neither passed on nor answered: %+v", v)
		}
	})
}
