-- Anyone may make an account, until an admin takes this policy away.
INSERT INTO policies (subject, object, relation) VALUES ('*', 'user', 'create');
