-- Where several nodes share the database it notes which feeds have changed of late; a node that is alone hears of it all.
SELECT 1;
