-- A foreign key would stay with the old table.
create table gh_ost_parent (id int not null primary key);
create table gh_ost_test (id int not null primary key, parent int null, constraint of_parent foreign key (parent) references gh_ost_parent (id));
insert into gh_ost_parent values (1);
insert into gh_ost_test values (1, 1), (2, null);
