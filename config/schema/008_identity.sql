-- The identity of a task is "key:" or "strict:", its namespace, "/", its name, ":", and the key or
-- digest. In the namespace a "/", in the name a ":", and in both a "%" are written as %2F, %3A and
-- %25: without this, the name "a" with the key "b:c" and the name "a:b" with the key "c" were one.
-- The "%" in front keeps new identities apart from those that are still to be converted.

UPDATE tasks SET identity_hash = '%'
    || substr(identity_hash, 1, CASE WHEN identity_hash LIKE 'key:%' THEN 4 ELSE 7 END)
    || replace(replace(namespace, '%', '%25'), '/', '%2F') || '/'
    || replace(replace(name, '%', '%25'), ':', '%3A')
    || substr(identity_hash, length(namespace) + length(name) + 2
              + CASE WHEN identity_hash LIKE 'key:%' THEN 4 ELSE 7 END)
    WHERE identity_hash IS NOT NULL
    AND (replace(replace(namespace, '%', ''), '/', '') <> namespace
         OR replace(replace(name, '%', ''), ':', '') <> name);
UPDATE tasks SET identity_hash = substr(identity_hash, 2) WHERE substr(identity_hash, 1, 1) = '%';
