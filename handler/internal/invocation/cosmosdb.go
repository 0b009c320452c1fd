package invocation

// cosmosDBTrigger: one text holding an array of documents. Their _etag and _ts are part of the data, and metadata adds nothing.
var cosmosDB = shape{ids: []string{}}
