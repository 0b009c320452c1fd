// Prints one resource type of the Bicep compiler's own catalogue (NuGet Azure.Bicep.Types.Az) in the form
// that generate-types.mjs reads:
//
//   dotnet run -- Microsoft.Web/sites@2025-03-01
using System.Text.Json;
using System.Text.Json.Nodes;
using Azure.Bicep.Types.Az;
using Azure.Bicep.Types.Concrete;

var loader = new AzTypeLoader();
var index = loader.LoadTypeIndex();
var answers = new JsonObject();
foreach (var wanted in args)
{
    var found = index.Resources.FirstOrDefault(r => r.Key.Equals(wanted, StringComparison.OrdinalIgnoreCase));
    if (found.Key is null) continue;
    var resource = loader.LoadResourceType(found.Value);
    var seen = new Dictionary<string, JsonObject>();
    var body = Describe(resource.Body.Type, seen);
    var all = new JsonArray(new JsonObject { ["$type"] = "Resource", ["name"] = found.Key, ["bodyType"] = body });
    foreach (var item in seen.Values) all.Add(item.DeepClone());
    answers[found.Key] = all;
}
Console.WriteLine(answers.ToJsonString());

JsonNode Describe(TypeBase type, Dictionary<string, JsonObject> seen) => type switch
{
    DiscriminatedObjectType d => new JsonObject
    {
        ["$type"] = "DiscriminatedObject",
        ["name"] = d.Name,
        ["baseProperties"] = Properties(d.BaseProperties, seen),
        ["elements"] = new JsonArray(d.Elements.OrderBy(e => e.Key, StringComparer.Ordinal).Select(e => Describe(e.Value.Type, seen)).ToArray()),
    },
    ObjectType o => Object(o, seen),
    _ => throw new InvalidOperationException($"{type.GetType()}"),
};

JsonObject Object(ObjectType o, Dictionary<string, JsonObject> seen)
{
    var result = new JsonObject { ["$type"] = "Object", ["name"] = o.Name, ["properties"] = Properties(o.Properties, seen) };
    if (o.AdditionalProperties is { } rest) result["additionalPropertiesType"] = Name(rest.Type, seen);
    return result;
}

JsonArray Properties(IEnumerable<KeyValuePair<string, ObjectTypeProperty>> properties, Dictionary<string, JsonObject> seen) =>
    new(properties.OrderBy(p => p.Key, StringComparer.Ordinal).Select(p => (JsonNode)new JsonObject
    {
        ["name"] = p.Key, ["type"] = Name(p.Value.Type.Type, seen), ["flags"] = p.Value.Flags.ToString(),
    }).ToArray());

string Name(TypeBase type, Dictionary<string, JsonObject> seen)
{
    switch (type)
    {
        case StringType: return "string";
        case IntegerType: return "int";
        case BooleanType: return "bool";
        case AnyType: return "any";
        case NullType: return "null";
        case StringLiteralType literal: return literal.Value;
        case ArrayType array: return $"{Name(array.ItemType.Type, seen)}[]";
        case UnionType union: return string.Join(" | ", union.Elements.Select(e => Name(e.Type, seen)));
        case DiscriminatedObjectType d:
            if (!seen.ContainsKey(d.Name)) { seen[d.Name] = new JsonObject(); seen[d.Name] = (JsonObject)Describe(d, seen); }
            return d.Name;
        case ObjectType o:
            if (!seen.ContainsKey(o.Name)) { seen[o.Name] = new JsonObject(); seen[o.Name] = Object(o, seen); }
            return o.Name;
        default: return type.GetType().Name;
    }
}
